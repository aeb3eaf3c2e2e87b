/** SELinux labels and capabilities of real files, through the programs of the `attr` package. */
import { OtaError, decodeText, encodeText, readU32, toHex, writeU32 } from "../../core/index.ts";
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

/** {@link LabelTool} of a board. */
export function boardLabels(run: RunProgram): LabelTool {
  const set = async (path: Buffer, name: string, value: string): Promise<void> => {
    const { exitCode, stderr } = await run("setfattr", ["-h", "-n", name, "-v", value, "--", forOthers(path)]);
    if (exitCode !== 0) throw new OtaError("DEVICE_IO", { what: "setfattr failed", where: name, found: stderr.trim() });
  };
  return {
    async set(path, { selinuxLabel, capabilities }) {
      if (selinuxLabel !== undefined) {
        // With the zero at the end, as libselinux stores it.
        await set(path, "security.selinux", `0x${toHex(encodeText(`${selinuxLabel}\0`))}`);
      }
      if (capabilities === 0n) {
        // None there is as good as one taken away.
        await run("setfattr", ["-h", "-x", "security.capability", "--", forOthers(path)]);
      } else if (capabilities !== undefined) {
        await set(path, "security.capability", `0x${toHex(capabilityAttribute(capabilities))}`);
      }
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
