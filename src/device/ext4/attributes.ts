/** SELinux label and capabilities among the extended attributes of an ext4 inode: in the inode, and in a block of their own. */
import { OtaError, decodeText, readU32 } from "../../core/index.ts";
import type { FileAttributes } from "../../core/index.ts";
import { capabilityBits } from "../board/board-labels.ts";
import { damaged } from "./damaged.ts";
import { ATTRIBUTE, ATTRIBUTE_MAGIC } from "./layouts.ts";

/** Prefix number of `security.`. */
const SECURITY = 6;
/** Header of a block of attributes; in an inode only its magic number stands. */
const BLOCK_HEADER = 32;

/** `values`: what the offsets count from. */
function* attributes(entries: Uint8Array, values: Uint8Array, where: string): Generator<readonly [string, Uint8Array]> {
  for (let at = 0; at + ATTRIBUTE.size <= entries.length && readU32(entries, at) !== 0;) {
    const entry = ATTRIBUTE.decode(entries.subarray(at, at + ATTRIBUTE.size));
    const name = entries.subarray(at + ATTRIBUTE.size, at + ATTRIBUTE.size + entry.nameSize);
    if (entry.valueOffset + entry.valueSize > values.length || name.length < entry.nameSize) {
      throw damaged("an attribute lies outside its place", where);
    }
    if (entry.prefix === SECURITY) {
      if (entry.valueInode !== 0) {
        throw new OtaError("UNSUPPORTED", {
          what: "an attribute of the ext4 image lies in an inode of its own",
          where,
        });
      }
      yield [decodeText(name), values.subarray(entry.valueOffset, entry.valueOffset + entry.valueSize)];
    }
    at += ATTRIBUTE.size + Math.ceil(entry.nameSize / 4) * 4;
  }
}

/** Label and capabilities. `inside`: the rest of the inode; `outside`: its block of attributes. @throws OtaError DEVICE_IO, UNSUPPORTED */
export function readAttributes(
  inside: Uint8Array,
  outside: Uint8Array | undefined,
  where: string,
): Pick<FileAttributes, "selinuxLabel" | "capabilities"> {
  const found = new Map<string, Uint8Array>();
  if (outside !== undefined) {
    if (readU32(outside, 0) !== ATTRIBUTE_MAGIC) throw damaged("a block of attributes is none", where);
    for (const [name, value] of attributes(outside.subarray(BLOCK_HEADER), outside, where)) found.set(name, value);
  }
  if (inside.length > 4 && readU32(inside, 0) === ATTRIBUTE_MAGIC) {
    const entries = inside.subarray(4);
    for (const [name, value] of attributes(entries, entries, where)) found.set(name, value);
  }
  const label = found.get("selinux");
  const capabilities = capabilityBits(found.get("capability") ?? new Uint8Array(0));
  return {
    ...(label === undefined ? {} : { selinuxLabel: decodeText(label).replace(/\0$/, "") }),
    ...(capabilities === undefined ? {} : { capabilities }),
  };
}
