/**
 * The laboratory's virtual machine: QEMU under TCG with Debian's kernel, our build and a script.
 *
 * Never KVM: a device node that opens may still hang. Every machine has a time limit and is killed by its own process id.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

let prepared: string | undefined;

/** Folder with kernel, initial RAM file system and Node's disk; made on the first call of a machine. */
export function labFolder(): string {
  prepared ??= execFileSync("bash", [join(HERE, "prepare.sh")], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  })
    .trim()
    .split("\n")
    .at(-1) as string;
  return prepared;
}

/** A folder of this test's own; `disk` makes files in it. */
export function workFolder(): string {
  return mkdtempSync(join(tmpdir(), "otaforge-lab-"));
}

/** An ext4 image of `size` bytes holding `folder` (or nothing). */
export function ext4Image(path: string, size: number, folder?: string): void {
  writeFileSync(path, "");
  execFileSync("truncate", ["-s", String(size), path]);
  execFileSync("mkfs.ext4", ["-q", "-O", "^has_journal", ...(folder === undefined ? [] : ["-d", folder]), path]);
}

let appDisk: string | undefined;

/** A disk with our build and what it needs at run time: `/app/bin`, `/app/dist`, `/app/node_modules`. */
export function appImage(): string {
  if (appDisk !== undefined) return appDisk;
  if (!existsSync(join(PROJECT, "dist/cli/otaforge.js"))) throw new Error("no build: run npm run build first");
  const folder = workFolder();
  const app = join(folder, "app");
  mkdirSync(app);
  for (const name of ["bin", "dist", "package.json"]) cpSync(join(PROJECT, name), join(app, name), { recursive: true });
  const production = execFileSync("npm", ["ls", "--omit=dev", "--all", "--parseable"], {
    cwd: PROJECT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  })
    .split("\n")
    .map((path) => path.slice(path.indexOf("/node_modules/") + 1))
    .filter((path) => path.startsWith("node_modules/"));
  for (const path of new Set(production)) {
    cpSync(join(PROJECT, path), join(app, path), { recursive: true, dereference: true });
  }
  appDisk = join(folder, "app.ext4");
  ext4Image(appDisk, 96 * 1024 * 1024, app);
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return appDisk;
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
  "random.trust_cpu=1 pci=lastbus=0 nohpet 8250.nr_uarts=1";

/** A running machine. */
export class Machine {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #ended: Promise<void>;
  #output = "";
  #listeners: (() => void)[] = [];

  constructor(options: MachineOptions) {
    const lab = labFolder();
    this.#folder = workFolder();
    const scripts = join(this.#folder, "scripts");
    mkdirSync(scripts);
    writeFileSync(join(scripts, "main.sh"), options.script);
    for (const [name, content] of Object.entries(options.files ?? {})) writeFileSync(join(scripts, name), content);
    const tar = join(this.#folder, "scripts.tar");
    execFileSync("tar", ["-C", scripts, "--numeric-owner", "-cf", tar, "."]);
    const disk = (serial: string, file: string): string[] => [
      "-drive",
      `if=none,id=${serial},format=raw,file=${file},readonly=on`,
      "-device",
      `virtio-blk-pci,drive=${serial},serial=${serial}`,
    ];
    const bz = options.bzImageWords !== undefined;
    const display = (options.arguments ?? []).some((a) => a === "-vga");
    const args = [
      ...["-machine", "pc,accel=tcg", "-cpu", "max", "-m", String(options.memoryMiB ?? 256), "-smp", "1"],
      ...["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-nodefaults"],
      ...(display ? [] : ["-vga", "none"]),
      ...["-qmp", `unix:${this.qmpPath},server=on,wait=off`],
      ...["-kernel", join(lab, bz ? "bzImage" : "vmlinux"), "-initrd", join(lab, "initrd.zst")],
      ...["-append", `${KERNEL_WORDS} ${options.bzImageWords ?? ""} lab=main.sh`],
      ...disk("lab", tar),
      ...(options.withApp === true ? [...disk("node", join(lab, "node.ext4")), ...disk("app", appImage())] : []),
      ...(options.arguments ?? []),
    ];
    this.#child = spawn("qemu-system-x86_64", args, { stdio: ["pipe", "pipe", "pipe"] });
    const take = (chunk: Buffer): void => {
      this.#output += chunk.toString("latin1");
      for (const listener of this.#listeners) listener();
    };
    this.#child.stdout?.on("data", take);
    this.#child.stderr?.on("data", take);
    const limit = setTimeout(() => this.#child.kill("SIGKILL"), (options.limitSeconds ?? 120) * 1000);
    this.#ended = new Promise((resolve) => {
      this.#child.on("error", (e) => {
        this.#output += `cannot start qemu: ${e.message}\n`;
        resolve();
      });
      this.#child.on("close", () => {
        clearTimeout(limit);
        for (const listener of this.#listeners) listener();
        resolve();
      });
    });
  }

  get qmpPath(): string {
    return join(this.#folder, "qmp");
  }

  /** Everything on the serial line so far. */
  get output(): string {
    return this.#output.replaceAll("\r\n", "\n");
  }

  /** Waits until the serial line has shown `text`. */
  async waitFor(text: string): Promise<void> {
    while (!this.output.includes(text)) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`the machine ended before it said ${JSON.stringify(text)}:\n${this.output}`);
      }
      await new Promise<void>((resolve) => (this.#listeners = [resolve]));
    }
    this.#listeners = [];
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

  /** Waits for the script's end. @throws when it did not end with 0, with the whole serial output */
  async done(): Promise<string> {
    await this.#finish();
    if (!/^LAB-EXIT 0$/m.test(this.output)) throw new Error(`the machine's script failed:\n${this.output}`);
    return this.output;
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
