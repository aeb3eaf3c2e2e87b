/** SELinux labels and capabilities of real files, through the programs of the `attr` package. */
import { OtaError, decodeText, encodeText, readU32, toHex, writeU32 } from "../../core/index.ts";
import type { FileAttributes } from "../../core/index.ts";
import type { LabelTool } from "../disk/disk-files.ts";
import type { RunProgram } from "../run-program.ts";

/** `security.capability`, version 2, as the kernel keeps it: permitted bits, effective flag set. */
export function capabilityAttribute(bits: bigint): Uint8Array {
  const out = new Uint8Array(20);
  writeU32(out, 0, 0x02000001);
  writeU32(out, 4, Number(bits & 0xffffffffn));
  writeU32(out, 12, Number((bits >> 32n) & 0xffffffffn));
  return out;
}

/** Bits of a `security.capability` attribute; undefined where there is none that we read. */
export function capabilityBits(attribute: Uint8Array): bigint | undefined {
  if (attribute.length < 20) return undefined;
  return BigInt(readU32(attribute, 4)) | (BigInt(readU32(attribute, 12)) << 32n);
}

/** Descriptors of ours mean nothing to another program: it gets them through our entry in /proc. */
function forOthers(path: Buffer): string {
  const text = path.toString("utf8");
  return text.startsWith("/proc/self/") ? `/proc/${process.pid}/${text.slice("/proc/self/".length)}` : text;
}

/** Attributes of one file that are to be set, as `setfattr` takes them, and whether its capabilities go away. */
interface Change {
  readonly path: string;
  readonly values: readonly (readonly [name: string, value: string])[];
  readonly dropCapabilities: boolean;
}

function changeOf(path: Buffer, { selinuxLabel, capabilities }: FileAttributes): Change {
  const values: [string, string][] = [];
  // With the zero at the end, as libselinux stores it.
  if (selinuxLabel !== undefined) values.push(["security.selinux", `0x${toHex(encodeText(`${selinuxLabel}\0`))}`]);
  if (capabilities !== undefined && capabilities !== 0n) {
    values.push(["security.capability", `0x${toHex(capabilityAttribute(capabilities))}`]);
  }
  return { path: forOthers(path), values, dropCapabilities: capabilities === 0n };
}

/** A path in the form of `getfattr --dump`: what could be taken for something else as octal escapes. */
const dumped = (path: string): string =>
  [...encodeText(path)]
    .map((c) => (c > 0x20 && c < 0x7f && c !== 0x5c ? String.fromCharCode(c) : `\\${c.toString(8).padStart(3, "0")}`))
    .join("");

/** One process for many files: starting one takes longer than all it does, and an update sets labels of thousands. */
async function setTogether(run: RunProgram, changes: readonly Change[]): Promise<void> {
  const set = changes.filter(({ values }) => values.length > 0);
  if (set.length > 0 && !(await restore(run, set))) {
    // Small programs of the name (toybox, busybox) cannot read a list; and of a list it is not told which one failed.
    for (const { path, values } of set) for (const [name, value] of values) await setOne(run, path, name, value);
  }
  const drop = changes.filter(({ dropCapabilities }) => dropCapabilities).map(({ path }) => path);
  // None there is as good as one taken away.
  if (drop.length > 0) await run("setfattr", ["-h", "-x", "security.capability", "--", ...drop]);
}

async function restore(run: RunProgram, changes: readonly Change[]): Promise<boolean> {
  if (changes.length === 1 && changes[0]?.values.length === 1) return false;
  const list = changes.map(({ path, values }) => {
    return `# file: ${dumped(path)}\n${values.map(([name, value]) => `${name}=${value}\n`).join("")}\n`;
  });
  const input = (async function* () {
    yield encodeText(list.join(""));
  })();
  return (await run("setfattr", ["-h", "--restore=-"], { input })).exitCode === 0;
}

async function setOne(run: RunProgram, path: string, name: string, value: string): Promise<void> {
  const { exitCode, stderr } = await run("setfattr", ["-h", "-n", name, "-v", value, "--", path]);
  if (exitCode !== 0) throw new OtaError("DEVICE_IO", { what: "setfattr failed", where: name, found: stderr.trim() });
}

/** {@link LabelTool} of a board. Changes asked for at once are made by one process; when one fails, only its caller is told. */
export function boardLabels(run: RunProgram): LabelTool {
  let waiting: { change: Change; resolve: () => void; reject: (e: unknown) => void }[] = [];

  async function flush(): Promise<void> {
    const batch = waiting;
    waiting = [];
    try {
      await setTogether(
        run,
        batch.map(({ change }) => change),
      );
      for (const { resolve } of batch) resolve();
    } catch (e) {
      if (batch.length === 1) batch[0]?.reject(e);
      else for (const { change, resolve, reject } of batch) await setTogether(run, [change]).then(resolve, reject);
    }
  }

  return {
    set(path, attributes) {
      return new Promise((resolve, reject) => {
        if (waiting.length === 0) setImmediate(() => void flush());
        waiting.push({ change: changeOf(path, attributes), resolve, reject });
      });
    },
    async get(path) {
      const read = async (name: string): Promise<Uint8Array | undefined> => {
        const args = ["-h", "--only-values", "--absolute-names", "-n", name, "--", forOthers(path)];
        const result = await run("getfattr", args).catch(() => undefined);
        return result?.exitCode === 0 && result.stdout.length > 0 ? result.stdout : undefined;
      };
      const label = await read("security.selinux");
      const capability = await read("security.capability");
      const capabilities = capability === undefined ? undefined : capabilityBits(capability);
      return {
        ...(label === undefined ? {} : { selinuxLabel: decodeText(label).replace(/\0$/, "") }),
        ...(capabilities === undefined ? {} : { capabilities }),
      };
    },
  };
}
