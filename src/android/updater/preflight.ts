/**
 * What can be known of a script before its first change: whether the package holds what it names, whether its targets are there and
 * large enough, whether the bases of its patches are what the patches expect, and whether there is room.
 *
 * Only literal arguments are looked at; what a script computes is checked when it comes to it. Nothing is written.
 */
import { isOtaError } from "../../core/errors.ts";
import type { Device } from "../../core/ports.ts";
import { roomOf } from "../applypatch/cache.ts";
import { isPartitionName, loadContents, parsePartitionName, parseSha1, SAVED_FILE } from "../applypatch/contents.ts";
import { listProblem } from "../block-update/check-list.ts";
import { stashRoom } from "../block-update/stash-need.ts";
import { MAX_TRANSFER_LIST, parseTransferList } from "../block-update/transfer-list.ts";
import type { TransferList } from "../block-update/transfer-list.ts";
import { calls } from "../edify/ast.ts";
import type { EdifyCall, EdifyNode } from "../edify/ast.ts";
import { fromLatin1, unicode } from "../latin1.ts";
import { holdsBlockBase } from "./block-base.ts";
import { cacheProblem } from "./cache-room.ts";
import { devicePath, failureText, findMtd } from "./device-files.ts";
import type { UpdaterSession } from "./host.ts";
import { newDataSize } from "./new-data.ts";
import { basesOf } from "./script-scope.ts";

/** Problems that are told; more of the same kind say nothing new. */
const MAX_TOLD = 8;

const literal = (node: EdifyNode | undefined): string | undefined =>
  node?.kind === "literal" ? node.value : undefined;

/** Name of the entry of a `package_extract_file("name")` argument. */
function entryArgument(node: EdifyNode | undefined): string | undefined {
  return node?.kind === "call" && node.name === "package_extract_file" && node.args.length === 1
    ? literal(node.args[0])
    : undefined;
}

class Preflight {
  readonly problems: string[] = [];
  readonly #session: UpdaterSession;
  readonly #device: Device;
  readonly #calls: readonly EdifyCall[];
  readonly #mounted: readonly string[];
  readonly #looked = new Map<string, Promise<{ readonly sha1: string; readonly size: number } | undefined>>();

  constructor(session: UpdaterSession, root: EdifyNode, mounted: readonly string[]) {
    this.#session = session;
    this.#device = session.device;
    this.#calls = calls(root);
    this.#mounted = mounted;
  }

  #problem(text: string): void {
    if (!this.problems.includes(text)) this.problems.push(text);
  }

  /** Digest and size of a file or partition, read once: nothing changes meanwhile. Undefined when it cannot be loaded. */
  #look(name: string): Promise<{ readonly sha1: string; readonly size: number } | undefined> {
    const load = async (): Promise<{ readonly sha1: string; readonly size: number } | undefined> => {
      const loaded = await loadContents({ device: this.#device, log: () => undefined }, name);
      await loaded?.close();
      return loaded === undefined ? undefined : { sha1: loaded.sha1, size: loaded.reader.size };
    };
    const known = this.#looked.get(name) ?? load();
    this.#looked.set(name, known);
    return known;
  }

  #entrySize(name: string): number | undefined {
    const entry = this.#session.host.zip.get(unicode(name));
    if (entry === undefined) this.#problem(`the package lacks ${name}, which its script uses`);
    return entry?.size;
  }

  /** Size of a node; undefined when there is none of this name. */
  async #nodeSize(path: string): Promise<number | undefined> {
    try {
      const info = await this.#device.nodes.info(path);
      if (info !== undefined) return info.size;
      const file = await this.#device.files.stat(path);
      return file?.kind === "file" ? file.size : undefined;
    } catch (e) {
      failureText(e);
      return undefined;
    }
  }

  /** Points that the script itself mounts: their files may be out of sight now. */
  #unseen(path: string): boolean {
    const inside = (at: string): boolean => path.startsWith(`${at.replace(/\/+$/, "")}/`);
    if (this.#mounted.some((at) => at !== "/" && inside(at))) return false;
    return this.#calls.some(({ name, args }) => {
      const at = name === "mount" ? literal(args[3]) : name === "format" ? literal(args[4]) : undefined;
      return at !== undefined && at !== "" && inside(devicePath(at));
    });
  }

  /** Whether the script makes the file before it uses it. */
  #made(path: string): boolean {
    return this.#calls.some(({ name, args }) => {
      const [first, second] = [literal(args[0]), literal(args[1])];
      if (name === "package_extract_file" || name === "rename") {
        return second !== undefined && devicePath(second) === path;
      }
      if (name !== "package_extract_dir" || first === undefined || second === undefined) return false;
      const folder = devicePath(second).replace(/\/+$/, "");
      if (!path.startsWith(`${folder}/`)) return false;
      const entry = `${first === "" ? "" : `${first}/`}${path.slice(folder.length + 1)}`;
      return this.#session.host.zip.get(unicode(entry)) !== undefined;
    });
  }

  /** Whether the script changes anything below a folder. */
  #writesInside(at: string | undefined): boolean {
    if (at === undefined || at === "") return false;
    const folder = devicePath(at).replace(/\/+$/, "");
    return this.#calls.some(
      ({ name, args }) =>
        changesDevice(name, args.length) &&
        args.some((arg) => {
          const text = literal(arg);
          const path = text === undefined || !text.startsWith("/") ? undefined : devicePath(text);
          return path !== undefined && (path === folder || path.startsWith(`${folder}/`));
        }),
    );
  }

  async #fileSystem(call: EdifyCall): Promise<void> {
    const [, type, location] = call.args.map(literal);
    if (type === undefined || location === undefined || location === "") return;
    const { mounts } = this.#device;
    if (type === "MTD") {
      const node = (await findMtd(this.#device, location)) ?? `/dev/mtd/by-name/${location}`;
      if ((await this.#nodeSize(node)) === undefined && (await mounts.known?.(node)) === undefined) {
        this.#problem(`there is no flash partition ${location}`);
      }
      return;
    }
    const node = devicePath(location);
    const known = await mounts.known?.(node);
    if (known?.readOnly === true && (call.name === "format" || this.#writesInside(literal(call.args[3])))) {
      this.#problem(`the file system on ${location} is read-only`);
    }
    if (known !== undefined) return;
    if ((await this.#nodeSize(node)) === undefined) this.#problem(`there is no file system on ${location}`);
  }

  async #extractFile(call: EdifyCall): Promise<void> {
    const [name, destination] = call.args.map(literal);
    if (name === undefined) return;
    const size = this.#entrySize(name);
    if (destination === undefined || size === undefined) return;
    await this.#fits(devicePath(destination), size, name);
  }

  async #fits(path: string, size: number, name: string): Promise<void> {
    const room = path.startsWith("/dev/") ? await this.#nodeSize(path) : undefined;
    if (path.startsWith("/dev/") && room === undefined) this.#problem(`there is no ${path} to write ${name} to`);
    else if (room !== undefined && room < size) {
      this.#problem(`${name} has ${size} bytes, ${path} has room for ${room}`);
    }
  }

  async #rawImage(call: EdifyCall): Promise<void> {
    const partition = literal(call.args[1]);
    const name = entryArgument(call.args[0]);
    if (partition === undefined || partition === "") return;
    const node = await findMtd(this.#device, partition);
    if (node === undefined) return this.#problem(`there is no flash partition ${partition}`);
    const size = name === undefined ? undefined : this.#entrySize(name);
    if (name !== undefined && size !== undefined) await this.#fits(node, size, name);
  }

  /** Whether a file or partition has one of the digests; what cannot be loaded has none. */
  async #holds(name: string, wanted: ReadonlySet<string | undefined>): Promise<boolean> {
    const found = await this.#look(name);
    return found !== undefined && wanted.has(found.sha1);
  }

  /** The base of a patch must be one it is for, or its result, or lie saved on the cache. */
  async #patch(call: EdifyCall): Promise<void> {
    const [source, target, sha1] = call.args.map(literal);
    if (source === undefined || target === undefined || sha1 === undefined) return;
    const wanted = new Set([parseSha1(sha1)]);
    for (let i = 4; i < call.args.length; i += 2) {
      const digest = literal(call.args[i]);
      if (digest === undefined) return;
      wanted.add(parseSha1(digest));
      const entry = entryArgument(call.args[i + 1]);
      if (entry !== undefined) this.#entrySize(entry);
    }
    if (this.#session.proven.has(source)) return;
    for (const name of target === "-" ? [source] : [source, target]) {
      if (!isPartitionName(name)) {
        const path = devicePath(name);
        if (this.#unseen(path) || this.#made(path)) return;
      }
      if (await this.#holds(name, wanted)) return;
    }
    if (await this.#holds(SAVED_FILE, wanted)) return;
    const shown = isPartitionName(source) ? `partition ${parsePartitionName(source).partition}` : source;
    this.#problem(`${shown} is not what its patch is for`);
  }

  /**
   * The source of a patched partition is kept on the cache until the partition is written. Scripts patch partitions after
   * files: without this place the device would stay between two systems.
   */
  async #copyOfSource(call: EdifyCall): Promise<void> {
    const [source, second, sha1] = call.args.map(literal);
    if (source === undefined || second === undefined || sha1 === undefined) return;
    const target = second === "-" ? source : second;
    if (!isPartitionName(target)) return;
    // Nothing is kept of what is patched already, nor when the copy of an earlier run is the source.
    if ((await this.#look(target))?.sha1 === parseSha1(sha1)) return;
    const base = await this.#look(source);
    if (base === undefined || !basesOf(call).has(base.sha1)) return;
    if ((await this.#look(SAVED_FILE))?.sha1 === base.sha1 || this.#unseen(SAVED_FILE)) return;
    await this.#needCache(base.size);
  }

  /** Tells why the cache cannot take that many bytes, if it cannot. */
  async #needCache(bytes: number): Promise<void> {
    const problem = await cacheProblem(this.#session, bytes);
    if (problem !== undefined) this.#problem(problem);
  }

  async #blockUpdate(call: EdifyCall): Promise<void> {
    const [device, , newName, patchName] = call.args.map(literal);
    const list = entryArgument(call.args[1]);
    for (const name of [newName, patchName]) if (name !== undefined) this.#entrySize(name);
    if (device === undefined) return;
    const room = await this.#nodeSize(devicePath(device));
    if (room === undefined) return this.#problem(`there is no ${device} to update`);
    if (list === undefined || this.#entrySize(list) === undefined) return;
    const { zip } = this.#session.host;
    const found = zip.need(unicode(list));
    if (found.size > MAX_TRANSFER_LIST) return;
    const text = fromLatin1(await zip.read(found, MAX_TRANSFER_LIST));
    const parsed = parseTransferList(text, () => undefined);
    if ("problem" in parsed) return this.#problem(`${list}: ${parsed.problem}`);
    if (parsed.total === 0) return;
    const [newEntry, patchEntry] = [newName, patchName].map((name) => zip.get(unicode(name ?? "")));
    if (newEntry !== undefined && patchEntry !== undefined) {
      const around = { device: room, newData: newDataSize(newEntry), patchData: patchEntry.size };
      const problem = listProblem(parsed, around);
      if (problem !== undefined) return this.#problem(`${list}: ${problem}`);
    }
    await this.#stashRoom(parsed);
    if (!(await holdsBlockBase(this.#session, device, text, parsed)))
      this.#problem(`${device} is not what the package updates`);
  }

  /** A partition's blocks that are needed later lie on the cache. */
  async #stashRoom(list: TransferList): Promise<void> {
    const bytes = stashRoom(list);
    if (list.version === 1 && bytes === 0) return;
    await this.#needCache(bytes);
  }

  /** Room for what is unpacked into file systems that are not made anew. */
  async #space(): Promise<void> {
    const formatted = this.#calls
      .filter(({ name }) => name === "format")
      .flatMap(({ args }) => {
        const at = literal(args[4]);
        return at === undefined || at === "" ? [] : [devicePath(at).replace(/\/+$/, "")];
      });
    const needed = new Map<string, number>();
    for (const { name, args } of this.#calls) {
      const [from, to] = args.map(literal);
      if (name !== "package_extract_dir" || from === undefined || to?.startsWith("/") !== true) continue;
      const target = devicePath(to).replace(/\/+$/, "");
      const within = (at: string): boolean => target === at || target.startsWith(`${at}/`);
      if (formatted.some(within) || this.#unseen(`${target}/x`)) continue;
      const prefix = from === "" ? "" : `${unicode(from).replace(/\/+$/, "")}/`;
      for (const entry of this.#session.host.zip.entries) {
        if (!entry.name.startsWith(prefix) || entry.name.endsWith("/")) continue;
        const there = await this.#sizeOf(`${target}/${entry.name.slice(prefix.length)}`);
        needed.set(target, (needed.get(target) ?? 0) + roomOf(entry.size) - roomOf(there));
      }
    }
    if (needed.size === 0) return;
    const freed = await this.#deleted();
    for (const [folder, bytes] of needed) {
      const { freeBytes } = await this.#device.files.space(`${folder}/x`);
      if (bytes > freeBytes + freed) {
        this.#problem(`${folder} needs ${bytes} bytes more, ${freeBytes} are free and ${freed} are deleted`);
      }
    }
  }

  async #sizeOf(path: string): Promise<number> {
    try {
      const info = await this.#device.files.stat(path);
      return info?.kind === "file" ? info.size : 0;
    } catch (e) {
      failureText(e);
      return 0;
    }
  }

  /** Bytes the script's own deletions give back, at most. */
  async #deleted(): Promise<number> {
    let sum = 0;
    for (const { name, args } of this.#calls) {
      if (name !== "delete") continue;
      for (const arg of args) {
        const path = literal(arg);
        if (path !== undefined && path !== "") sum += roomOf(await this.#sizeOf(devicePath(path)));
      }
    }
    return sum;
  }

  async run(): Promise<readonly string[]> {
    const guarded = conditional(this.#calls);
    for (const call of this.#calls) {
      this.#session.checkCancel();
      if (call.name === "mount" || call.name === "format") await this.#fileSystem(call);
      else if (call.name === "package_extract_file") await this.#extractFile(call);
      else if (call.name === "write_raw_image") await this.#rawImage(call);
      else if (call.name === "apply_patch" && !guarded.has(call)) {
        await this.#patch(call);
        await this.#copyOfSource(call);
      } else if (call.name === "block_image_update") await this.#blockUpdate(call);
    }
    await this.#space();
    const told = this.problems.slice(0, MAX_TOLD);
    const more = this.problems.length - told.length;
    return more === 0 ? told : [...told, `and ${more} more`];
  }
}

/** Patches of moved files: `sha1_check(read_file(new), …) || apply_patch(old, …)`, whose base is gone once the file was moved. */
function conditional(all: readonly EdifyCall[]): ReadonlySet<EdifyCall> {
  const found = new Set<EdifyCall>();
  const renamed = new Set(
    all.filter(({ name }) => name === "rename").map(({ args }) => devicePath(literal(args[0]) ?? "")),
  );
  for (const call of all) {
    const source = literal(call.args[0]);
    if (call.name !== "apply_patch" || source === undefined || isPartitionName(source)) continue;
    if (renamed.has(devicePath(source))) found.add(call);
  }
  return found;
}

/** What is wrong with running `root` on this device, in sentences; empty when nothing is. @throws OtaError CANCELLED, DEVICE_* */
export async function preflight(session: UpdaterSession, root: EdifyNode): Promise<readonly string[]> {
  const mounted = (await session.device.mounts.list()).map(({ at }) => at);
  try {
    return await new Preflight(session, root, mounted).run();
  } catch (e) {
    const text = failureText(e);
    return [isOtaError(e) && e.details.where !== undefined ? `${e.details.where}: ${text}` : text];
  }
}

/** Functions that change the device, or may. `package_extract_file` does with a destination. */
const CHANGING: ReadonlySet<string> = new Set([
  ...[
    "format",
    "delete",
    "delete_recursive",
    "package_extract_dir",
    "symlink",
    "set_metadata",
    "set_metadata_recursive",
  ],
  ...["set_perm", "set_perm_recursive", "write_raw_image", "apply_patch", "rename", "run_program", "set_stage"],
  ...["block_image_update", "wipe_block_device", "tune2fs", "write_value", "block_image_recover", "reboot_now"],
]);

/** Whether a call changes anything on the device. */
export function changesDevice(name: string, count: number): boolean {
  return CHANGING.has(name) || (name === "package_extract_file" && count === 2);
}
