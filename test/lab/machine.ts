/**
 * The laboratory's virtual machine: QEMU under TCG with Debian's kernel, our build and a script.
 *
 * Never KVM: a device node that opens may still hang. Every machine has a time limit and is killed by its own process id.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What the project's setup made: the folder of kernel, initial RAM file system and Node's disk, and the disk of our build. */
function prepared(name: "OTAFORGE_LAB_FOLDER" | "OTAFORGE_LAB_APP"): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: laboratory tests run by npm run lab`);
  return value;
}

/** A folder of this test's own. */
export function workFolder(): string {
  return mkdtempSync(join(tmpdir(), "otaforge-lab-"));
}

/** An empty file of `size` bytes. */
export function emptyFile(path: string, size: number): void {
  writeFileSync(path, "");
  execFileSync("truncate", ["-s", String(size), path]);
}

/** An ext4 image of `size` bytes holding `folder` (or nothing). */
export function ext4Image(path: string, size: number, folder?: string): void {
  emptyFile(path, size);
  execFileSync("mkfs.ext4", ["-q", "-F", ...(folder === undefined ? [] : ["-d", folder]), path]);
}

export interface MachineOptions {
  /** Script run by the machine's init with `sh`; its exit code ends the run. */
  readonly script: string;
  /** More files for `/lab`, by name. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** More QEMU arguments: disks, displays. */
  readonly arguments?: readonly string[];
  readonly memoryMiB?: number;
  /** Boot the compressed image (needed for video modes chosen by the boot protocol) with these kernel words. */
  readonly bzImageWords?: string;
  /** Killed after so many seconds. */
  readonly limitSeconds?: number;
  /** With our build and Node on disks. */
  readonly withApp?: boolean;
}

const KERNEL_WORDS =
  "console=ttyS0 quiet panic=-1 mitigations=off nokaslr lpj=4000000 tsc=reliable cryptomgr.notests=1 " +
  "random.trust_cpu=1 pci=lastbus=0 nohpet no_timer_check 8250.nr_uarts=1";

/** No test waits longer for a machine, whatever it does: a hang ends in a failure that shows the serial output. */
const DEFAULT_LIMIT_SECONDS = Number(process.env["OTAFORGE_LAB_LIMIT"] ?? 900);

/** The disk of a machine's scripts, for QEMU: a tar archive. */
export function scriptsArchive(path: string, { script, files }: Pick<MachineOptions, "script" | "files">): void {
  const scripts = `${path}.d`;
  mkdirSync(scripts);
  writeFileSync(join(scripts, "main.sh"), script);
  for (const [name, content] of Object.entries(files ?? {})) writeFileSync(join(scripts, name), content);
  execFileSync("tar", ["-C", scripts, "--numeric-owner", "-cf", path, "."]);
  rmSync(scripts, { recursive: true });
}

/** Starts QEMU so that it dies with this process, whatever ends it; the process id is QEMU's own. */
export function spawnMachine(program: string, args: readonly string[]): ChildProcess {
  return spawn("setpriv", ["--pdeathsig", "KILL", "--", program, ...args], { stdio: ["pipe", "pipe", "pipe"] });
}

/** A machine that was saved while it ran: the file of its state and the archive of scripts it has as a disk. */
export interface SavedMachine {
  readonly state: string;
  readonly scripts: string;
}

/** A running machine. */
export class Machine {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #ended: Promise<void>;
  #output = "";
  #listeners = new Set<() => void>();
  #limitReached = false;

  /** @param saved goes on where that machine was saved; `options` must be the same but for the contents of disks */
  constructor(options: MachineOptions, saved?: SavedMachine) {
    const lab = prepared("OTAFORGE_LAB_FOLDER");
    this.#folder = workFolder();
    const scripts = saved?.scripts ?? join(this.#folder, "scripts.tar");
    if (saved === undefined) scriptsArchive(scripts, options);
    const disk = (serial: string, file: string): string[] => rawDisk(serial, file, ",readonly=on");
    const bz = options.bzImageWords !== undefined;
    const display = (options.arguments ?? []).some((a) => a === "-vga");
    const args = [
      ...["-machine", "pc,accel=tcg", "-cpu", "max", "-m", String(options.memoryMiB ?? 256), "-smp", "1"],
      ...["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-nodefaults"],
      ...(display ? [] : ["-vga", "none"]),
      ...["-qmp", `unix:${this.qmpPath},server=on,wait=off`],
      ...["-kernel", join(lab, bz ? "bzImage" : "vmlinux"), "-initrd", join(lab, "initrd.zst")],
      ...["-append", `${KERNEL_WORDS} ${options.bzImageWords ?? ""} lab=main.sh`],
      ...disk("lab", scripts),
      ...(options.withApp === true
        ? [...disk("node", join(lab, "node.ext4")), ...disk("app", prepared("OTAFORGE_LAB_APP"))]
        : []),
      ...(options.arguments ?? []),
      ...(saved === undefined ? [] : ["-incoming", `exec:cat '${saved.state}'`]),
    ];
    this.#child = spawnMachine("qemu-system-x86_64", args);
    const take = (chunk: Buffer): void => {
      this.#output += chunk.toString("latin1");
      if (process.env["OTAFORGE_LAB_SHOW"] !== undefined) process.stderr.write(chunk);
      this.#wake();
    };
    this.#child.stdout?.on("data", take);
    this.#child.stderr?.on("data", take);
    // A line typed to a machine that has just ended is nobody's failure; who waits for an answer is told.
    this.#child.stdin?.on("error", () => undefined);
    const limit = setTimeout(
      () => {
        this.#limitReached = true;
        this.#child.kill("SIGKILL");
      },
      (options.limitSeconds ?? DEFAULT_LIMIT_SECONDS) * 1000,
    );
    this.#ended = new Promise((resolve) => {
      this.#child.on("error", (e) => {
        this.#output += `cannot start qemu: ${e.message}\n`;
        resolve();
      });
      this.#child.on("close", () => {
        clearTimeout(limit);
        this.#wake();
        resolve();
      });
    });
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }

  get qmpPath(): string {
    return join(this.#folder, "qmp");
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid !== undefined;
  }

  /** Everything on the serial line so far. */
  get output(): string {
    return this.#output.replaceAll("\r\n", "\n");
  }

  /** The serial output for a failure's message. */
  get story(): string {
    const end = this.#limitReached ? "\n(the machine was killed at its time limit)" : "";
    return `${this.output.slice(-6000)}${end}`;
  }

  /** Waits until `found` gives something for the serial output. @throws when the machine ends before */
  async until<T>(what: string, found: (output: string) => T | undefined): Promise<T> {
    for (;;) {
      const value = found(this.output);
      if (value !== undefined) return value;
      if (!this.isRunning) throw new Error(`the machine ended before ${what}:\n${this.story}`);
      await new Promise<void>((resolve) => {
        const listener = (): void => {
          this.#listeners.delete(listener);
          resolve();
        };
        this.#listeners.add(listener);
      });
    }
  }

  /** Waits until the serial line has shown `text`. */
  async waitFor(text: string): Promise<void> {
    await this.until(`it said ${JSON.stringify(text)}`, (output) => (output.includes(text) ? true : undefined));
  }

  /** Types a line on the serial line. */
  send(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** The power cut: the process is killed, nothing is flushed. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#finish();
  }

  async #finish(): Promise<void> {
    await this.#ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Waits for the script's end. @throws when it did not end with 0, with the serial output */
  async done(): Promise<string> {
    await this.#finish();
    if (!/^LAB-EXIT 0$/m.test(this.output)) throw new Error(`the machine's script failed:\n${this.story}`);
    return this.output;
  }

  /** Saves the running machine and ends it. Its disks stay as they are. */
  async save(state: string): Promise<void> {
    await this.qmp("migrate", { uri: `exec:cat > '${state}'` });
    for (;;) {
      const { status } = (await this.qmp("query-migrate")) as { status?: string };
      if (status === "completed") break;
      if (status === "failed" || status === "cancelled") throw new Error(`saving the machine ${status}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await this.kill();
  }

  /** One QMP command. */
  async qmp(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const socket: Socket = createConnection(this.qmpPath);
    try {
      const replies = lines(socket);
      await replies.next();
      socket.write(`${JSON.stringify({ execute: "qmp_capabilities" })}\n`);
      await replies.next();
      socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
      for (;;) {
        const reply = await replies.next();
        if (reply.done === true) throw new Error(`QMP closed during ${execute}`);
        const { return: result, error } = JSON.parse(reply.value) as { return?: unknown; error?: { desc: string } };
        if (error !== undefined) throw new Error(`QMP ${execute}: ${error.desc}`);
        if (result !== undefined) return result;
      }
    } finally {
      socket.destroy();
    }
  }
}

async function* lines(socket: Socket): AsyncGenerator<string, void, void> {
  let rest = "";
  for await (const chunk of socket) {
    rest += String(chunk);
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      yield rest.slice(0, end);
      rest = rest.slice(end + 1);
    }
  }
}

/** Boots, runs the script to its end, and gives the serial output. */
export async function runInMachine(options: MachineOptions): Promise<string> {
  return new Machine(options).done();
}

/** A raw disk for the machine, found there by its serial number. */
export function rawDisk(id: string, file: string, extra = ""): string[] {
  return [
    "-drive",
    `if=none,id=${id},format=raw,file=${file}${extra}`,
    "-device",
    `virtio-blk-pci,drive=${id},serial=${id}`,
  ];
}
