/**
 * A device in memory that can lose its power at any write: what the rehearsal cuts.
 *
 * Block nodes have a volatile cache and whole sectors, flash has erase blocks, pages and bad blocks, UBI volumes the kernel's
 * update marker, files the guarantees of POSIX and no more. Everything is deterministic: the clock counts writes.
 */
import { encodeText } from "../../core/index.ts";
import type { Codecs, Device, Digests, MountInfo, ScriptRun } from "../../core/index.ts";
import { OtaError } from "../../core/index.ts";
import { normalPath, pathParts } from "../paths.ts";
import { BlockMedium } from "./block-medium.ts";
import { simulatedFiles } from "./file-ports.ts";
import type { FileArea } from "./file-ports.ts";
import { FileSystemMedium } from "./file-system-medium.ts";
import { FlashMedium } from "./flash-medium.ts";
import { Machine, World } from "./machine.ts";
import type { PowerCut, WriteFault } from "./machine.ts";
import type { Medium } from "./medium.ts";
import { simulatedNodes, simulatedUbi, ubiNodes } from "./node-ports.ts";
import type { SimulatedWrite } from "./operations.ts";
import { PagedBytes } from "./paged-bytes.ts";
import type { SimulatedFile, SimulatedFileSystem, SimulatedNode, SimulatedSpec } from "./spec.ts";
import { UbiMedium } from "./ubi-medium.ts";
import type { UbiVolume } from "./ubi-medium.ts";

/** Where the simulated clock begins, ms: 2026-01-01. */
const START_MS = 1767225600000;
const GIB = 1024 * 1024 * 1024;

/** What stays the same over restarts. */
interface Plan {
  readonly spec: SimulatedSpec;
  readonly digests: Digests;
  readonly codecs: Codecs;
  readonly nodes: ReadonlyMap<string, number>;
  readonly ubiDevices: ReadonlyMap<string, number>;
  readonly fileSystems: readonly (SimulatedFileSystem & { readonly at: string; readonly medium: number })[];
  readonly state: number;
}

/** A simulated device with its controls. */
export interface SimulatedDevice extends Device {
  readonly kind: "simulated";
  /** Number of writes since the start; flushes, erases, renames … count. */
  readonly writes: number;
  /** Number of writes that changed anything but the state. */
  readonly targetWrites: number;
  /** What was written since the start, when the device was made with `keepLog` (the first one is). */
  readonly log: readonly SimulatedWrite[];
  /** Scripts that would have run, in order. */
  readonly scriptsNoted: readonly ScriptRun[];
  /** The power goes at a write to come. From then on every call is DEVICE_POWER_CUT until {@link SimulatedDevice.restart}. */
  cutPower(cut: PowerCut): void;
  /** A write to come fails; 0 is the next one. */
  failWrite(write: number, fault: WriteFault): void;
  /** Reads of a node or file (by its path) fail from now on. */
  failReads(path: string): void;
  /** An independent copy as it is now, cache and all; the log starts anew. */
  fork(options?: { readonly keepLog?: boolean }): SimulatedDevice;
  /** The device after the power came back; a cut that has not happened yet happens now, with everything unflushed lost. */
  restart(options?: { readonly keepLog?: boolean }): SimulatedDevice;
}

function flashOrBlock(node: SimulatedNode): Medium {
  const content = node.content ?? new Uint8Array(0);
  const size = node.size ?? content.length;
  if (node.kind === "block") return new BlockMedium(PagedBytes.from(content, size), node.sectorSize);
  const nand = node.kind === "nand";
  const geometry = {
    nand,
    eraseSize: node.eraseSize ?? (nand ? 131072 : 65536),
    writeSize: node.writeSize ?? (nand ? 2048 : 1),
  };
  return new FlashMedium(geometry, PagedBytes.from(content, size, 0xff), node.badBlocks ?? []);
}

function ubiMedia(spec: SimulatedSpec): Map<string, UbiMedium> {
  const devices = new Map<string, UbiMedium>();
  for (const [path, volume] of Object.entries(spec.ubi ?? {})) {
    const match = /^(.*_)(\d+)$/.exec(path);
    if (match === null) {
      throw new OtaError("DEVICE_DESCRIPTION", { what: "a UBI volume's node ends in `_` and a number", where: path });
    }
    const prefix = match[1] as string;
    const device = devices.get(prefix) ?? new UbiMedium([], spec.ubiFreeBytes ?? 0);
    devices.set(prefix, device);
    const content = volume.content ?? new Uint8Array(0);
    const made: UbiVolume = {
      name: volume.name ?? `vol${match[2] as string}`,
      size: volume.size,
      type: volume.type ?? "dynamic",
      updating: volume.updating ?? false,
      content: PagedBytes.from(content, volume.size, 0xff),
      used: content.length,
    };
    device.volumes.set(Number(match[2]), made);
  }
  return devices;
}

function asFile(file: string | Uint8Array | SimulatedFile): SimulatedFile {
  if (typeof file === "string") return { content: encodeText(file) };
  return file instanceof Uint8Array ? { content: file } : file;
}

/** Puts the files of a description into place, durably. */
class Furnisher {
  readonly #media: readonly Medium[];
  readonly #areas: readonly FileArea[];

  constructor(media: readonly Medium[], areas: readonly FileArea[]) {
    this.#media = media;
    this.#areas = areas;
  }

  #locate(path: string): { readonly medium: number; readonly fs: FileSystemMedium; readonly parts: string[] } {
    let best = this.#areas[0] as FileArea;
    for (const area of this.#areas) {
      const inside = path === area.at || path.startsWith(area.at === "/" ? "/" : `${area.at}/`);
      if (inside && area.at.length > best.at.length) best = area;
    }
    const parts = pathParts(path.slice(best.at === "/" ? 0 : best.at.length) || "/");
    return { medium: best.medium, fs: this.#media[best.medium] as FileSystemMedium, parts };
  }

  add(path: string, file: SimulatedFile): void {
    const { medium, fs, parts } = this.#locate(normalPath(path));
    const kind = file.kind ?? (file.link === undefined ? "file" : "link");
    const mode = file.mode ?? (kind === "folder" ? 0o755 : 0o644);
    let folder = fs.root;
    const common = { medium, where: path, timeMs: START_MS };
    parts.forEach((name, i) => {
      const last = i === parts.length - 1;
      let ino = fs.inode(folder)?.entries.get(name);
      if (ino === undefined) {
        ino = fs.newIno();
        const birth = last
          ? { ino, kind, mode, uid: file.uid ?? 0, gid: file.gid ?? 0, text: file.link ?? "" }
          : { ino, kind: "folder" as const, mode: 0o755, uid: 0, gid: 0, text: "" };
        fs.apply({ ...common, kind: "names", changes: [{ folder, name, ino }], birth });
        if (last && file.content !== undefined) {
          fs.apply({ ...common, kind: "data", ino, offset: 0, bytes: file.content });
        }
        if (last) {
          const { selinuxLabel, capabilities } = file;
          const attributes = {
            ...(selinuxLabel === undefined ? {} : { selinuxLabel }),
            ...(capabilities === undefined ? {} : { capabilities }),
          };
          fs.apply({ ...common, kind: "attributes", ino, attributes });
          fs.apply({ ...common, kind: "sync-file", ino });
        }
        fs.apply({ ...common, kind: "sync-folder", ino: folder });
      }
      folder = ino;
    });
  }
}

function build(spec: SimulatedSpec, digests: Digests, codecs: Codecs): { plan: Plan; world: World } {
  const media: Medium[] = [];
  const add = (medium: Medium): number => media.push(medium) - 1;
  const nodes = new Map(Object.entries(spec.nodes ?? {}).map(([path, node]) => [path, add(flashOrBlock(node))]));
  const ubiDevices = new Map([...ubiMedia(spec)].map(([prefix, medium]) => [prefix, add(medium)]));
  const described = { "/": {}, ...spec.fileSystems } as Record<string, SimulatedFileSystem>;
  const fileSystems = Object.entries(described).map(([at, fs]) => ({
    ...fs,
    at: normalPath(at),
    medium: add(new FileSystemMedium({ capacityBytes: fs.capacityBytes ?? GIB, volatile: fs.volatile ?? false })),
  }));
  const state = add(new FileSystemMedium({ capacityBytes: GIB, volatile: false }));
  const areas = fileSystems.map(({ at, medium }) => ({ at, medium, readOnly: false }));
  const furnisher = new Furnisher(media, areas);
  for (const { at, medium } of fileSystems) {
    // The folder something is mounted at, in the file system below it.
    if (at === "/") continue;
    const below = areas.filter((area) => area.medium !== medium);
    new Furnisher(media, below).add(at, { kind: "folder" });
  }
  for (const [path, file] of Object.entries(spec.files ?? {})) furnisher.add(path, asFile(file));
  const stateFurnisher = new Furnisher(media, [{ at: "/", medium: state, readOnly: false }]);
  for (const [name, content] of Object.entries(spec.state ?? {})) stateFurnisher.add(`/${name}`, asFile(content));
  return { plan: { spec, digests, codecs, nodes, ubiDevices, fileSystems, state }, world: new World(media) };
}

/** One life of the device: from a start to the next power cut. */
class Life implements SimulatedDevice {
  readonly kind = "simulated";
  readonly hardware?: string;
  readonly running?: "a" | "b";
  readonly nodes;
  readonly files;
  readonly ubi;
  readonly scripts;
  readonly properties;
  readonly mounts;
  readonly clock;
  readonly digests;
  readonly codecs;
  readonly state;
  readonly scriptsNoted: ScriptRun[] = [];
  readonly #plan: Plan;
  readonly #machine: Machine;
  readonly #boot: number;
  /** Folders that are mounted now, in the order of mounting, with the medium behind each. */
  #mounted: FileArea[];
  /** File systems that were made anew since the start: what could not be read before can be now. */
  readonly #formatted = new Set<number>();

  constructor(plan: Plan, machine: Machine, boot: number, mounted?: FileArea[]) {
    const { spec } = plan;
    this.#plan = plan;
    this.#machine = machine;
    this.#boot = boot;
    this.#mounted =
      mounted ??
      plan.fileSystems
        .filter((fs) => fs.mounted !== false)
        .map(({ at, medium, readOnly }) => ({ at, medium, readOnly: readOnly ?? false }));
    if (spec.hardware !== undefined) this.hardware = spec.hardware;
    if (spec.running !== undefined) this.running = spec.running;
    const find = ubiNodes(machine, plan.ubiDevices);
    const mountedNodes = (): ReadonlySet<string> => new Set(this.#mountInfos().map(({ node }) => node));
    this.files = simulatedFiles(machine, () => this.#mounted);
    this.nodes = simulatedNodes(machine, { nodes: plan.nodes, ubi: find, mounted: mountedNodes }, this.files);
    this.ubi = simulatedUbi(machine, find, mountedNodes);
    this.state = simulatedFiles(machine, () => [{ at: "/", medium: plan.state, readOnly: false }]);
    this.digests = plan.digests;
    this.codecs = plan.codecs;
    this.clock = { nowMs: () => machine.timeMs, monotonicMs: () => machine.timeMs - START_MS };
    this.scripts = {
      run: async (script: ScriptRun) => {
        machine.check();
        this.scriptsNoted.push(script);
        return { ran: false, exitCode: 0 };
      },
    };
    this.properties = {
      get: async (name: string) => {
        machine.check();
        return spec.properties?.[name];
      },
    };
    this.mounts = {
      list: async () => {
        machine.check();
        return this.#mountInfos();
      },
      mount: async (node: string, at: string) => this.#mount(node, normalPath(at)),
      known: async (node: string) => {
        const found = this.#plan.fileSystems.find((known) => known.node === node);
        return found === undefined ? undefined : { readOnly: found.readOnly ?? false };
      },
      unmount: async (at: string) => this.#unmount(normalPath(at)),
      format: async (node: string) => this.#format(node),
    };
  }

  #mountInfos(): MountInfo[] {
    return this.#mounted.flatMap(({ at, medium, readOnly }) => {
      const fs = this.#plan.fileSystems.find((known) => known.medium === medium);
      if (fs?.node === undefined) return [];
      return [{ at, node: fs.node, readOnly, ...(fs.fsType === undefined ? {} : { fsType: fs.fsType }) }];
    });
  }

  async #mount(node: string, at: string): Promise<void> {
    this.#machine.check();
    const fs = this.#plan.fileSystems.find((known) => known.node === node);
    if (fs === undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "nothing to mount", where: node });
    if (fs.unreadable !== undefined && !this.#formatted.has(fs.medium) && this.#namesOf(fs.medium).length === 0) {
      throw new OtaError("DEVICE_IO", { what: fs.unreadable, where: node });
    }
    if (this.#mounted.some((mount) => mount.at === at && mount.medium === fs.medium)) return;
    if ((await this.files.stat(at))?.kind !== "folder") {
      throw new OtaError("DEVICE_NOT_FOUND", { what: "no folder to mount at", where: at });
    }
    this.#mounted.push({ at, medium: fs.medium, readOnly: fs.readOnly ?? false });
  }

  /** Names in the root of a file system. */
  #namesOf(medium: number): readonly string[] {
    const content = this.#machine.world.media[medium] as FileSystemMedium;
    return [...(content.inode(content.root)?.entries.keys() ?? [])];
  }

  async #format(node: string): Promise<void> {
    this.#machine.check();
    const fs = this.#plan.fileSystems.find((known) => known.node === node);
    if (fs === undefined) throw new OtaError("DEVICE_NOT_FOUND", { what: "nothing to format", where: node });
    if (this.#mounted.some(({ medium }) => medium === fs.medium)) {
      throw new OtaError("DEVICE_BUSY", { what: "is mounted", where: node });
    }
    const { medium } = fs;
    const { root } = this.#machine.world.media[medium] as FileSystemMedium;
    const names = this.#namesOf(medium);
    this.#formatted.add(medium);
    // One write a name: a cut in the middle leaves a half-emptied file system, as a real one leaves a damaged one.
    for (const name of names) {
      const changes = [{ folder: root, name, ino: undefined }];
      this.#machine.perform({ kind: "names", medium, where: node, changes });
    }
    this.#machine.perform({ kind: "sync-folder", medium, where: node, ino: root });
  }

  async #unmount(at: string): Promise<void> {
    this.#machine.check();
    const index = this.#mounted.map((mount) => at !== "/" && mount.at === at).lastIndexOf(true);
    if (index < 0) throw new OtaError("DEVICE_NOT_FOUND", { what: "nothing is mounted", where: at });
    this.#mounted.splice(index, 1);
  }

  async bootId(): Promise<string> {
    return `boot-${this.#boot}`;
  }

  get writes(): number {
    return this.#machine.writes;
  }

  get targetWrites(): number {
    let count = 0;
    for (const [medium, changes] of this.#machine.changes) if (medium !== this.#plan.state) count += changes;
    return count;
  }

  get log(): readonly SimulatedWrite[] {
    return this.#machine.log ?? [];
  }

  cutPower(cut: PowerCut): void {
    this.#machine.armCut(cut);
  }

  failWrite(write: number, fault: WriteFault): void {
    this.#machine.armFault(write, fault);
  }

  failReads(path: string): void {
    this.#machine.failReads(path);
  }

  fork({ keepLog = false } = {}): SimulatedDevice {
    const machine = new Machine(this.#machine.world.fork(), { keepLog, timeMs: this.#machine.timeMs });
    return new Life(this.#plan, machine, this.#boot, this.#mounted.slice());
  }

  restart({ keepLog = false } = {}): SimulatedDevice {
    const machine = new Machine(this.#machine.lost(), { keepLog, timeMs: this.#machine.timeMs + 1000 });
    return new Life(this.#plan, machine, this.#boot + 1);
  }

  /** A device of the same plan over media made elsewhere (a replayed log), started anew. */
  revive(world: World, options: { readonly keepLog: boolean }): SimulatedDevice {
    return new Life(
      this.#plan,
      new Machine(world, { ...options, timeMs: this.#machine.timeMs + 1000 }),
      this.#boot + 1,
    );
  }

  /** What each medium is called; the state has no name. */
  get mediumNames(): readonly (string | undefined)[] {
    const { nodes, ubiDevices, fileSystems, state } = this.#plan;
    const names: (string | undefined)[] = [];
    for (const [path, medium] of nodes) names[medium] = path;
    for (const [prefix, medium] of ubiDevices) names[medium] = `UBI device ${prefix.slice(0, -1)}:`;
    for (const { at, medium, volatile } of fileSystems) {
      if (volatile !== true) names[medium] = at === "/" ? "the root file system:" : `${at}:`;
    }
    names[state] = undefined;
    return names;
  }

  get world(): World {
    return this.#machine.world;
  }
}

/**
 * Makes a simulated device; its log is kept. Pure: digests and codecs come in.
 * @throws OtaError DEVICE_DESCRIPTION, DEVICE_PATH_REFUSED
 */
export function simulateDevice(spec: SimulatedSpec, ports: Pick<Device, "digests" | "codecs">): SimulatedDevice {
  const { plan, world } = build(spec, ports.digests, ports.codecs);
  return new Life(plan, new Machine(world, { keepLog: true, timeMs: START_MS }), 1);
}

/** For the rehearsal: the media of a simulated device. */
export function worldOf(device: SimulatedDevice): World {
  return (device as Life).world;
}

/** For the rehearsal: what the media are called, undefined for those whose content is not judged. */
export function mediumNames(device: SimulatedDevice): readonly (string | undefined)[] {
  return (device as Life).mediumNames;
}

/** For the rehearsal: a device like `like` over other media, started anew. */
export function reviveDevice(like: SimulatedDevice, world: World, keepLog: boolean): SimulatedDevice {
  return (like as Life).revive(world, { keepLog });
}
