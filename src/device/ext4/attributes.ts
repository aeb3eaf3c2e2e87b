/** Extended attributes of an ext4 inode, in the inode and in a block of their own: SELinux label, capabilities, and whether there are others. */
import { OtaError, decodeText, readU32 } from "../../core/index.ts";
import type { FileAttributes } from "../../core/index.ts";
import { capabilityBits } from "../board/board-labels.ts";
import { damaged } from "./damaged.ts";
import { ATTRIBUTE, ATTRIBUTE_MAGIC } from "./layouts.ts";

/** Prefixes of names by their numbers; POSIX ACLs are a prefix without more. */
const PREFIXES: Readonly<Record<number, string>> = {
  1: "user.",
  2: "system.posix_acl_access",
  3: "system.posix_acl_default",
  4: "trusted.",
  6: "security.",
  7: "system.",
};
const LABEL = "security.selinux";
const CAPABILITIES = "security.capability";
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
    const whole = `${PREFIXES[entry.prefix] ?? ""}${decodeText(name)}`;
    if (entry.valueInode !== 0 && (whole === LABEL || whole === CAPABILITIES)) {
      throw new OtaError("UNSUPPORTED", { what: "an attribute of the ext4 image lies in an inode of its own", where });
    }
    yield [whole, values.subarray(entry.valueOffset, entry.valueOffset + entry.valueSize)];
    at += ATTRIBUTE.size + Math.ceil(entry.nameSize / 4) * 4;
  }
}

export interface Ext4Attributes {
  readonly labels: Pick<FileAttributes, "selinuxLabel" | "capabilities">;
  /** Name of an attribute that is neither, where there is one. */
  readonly other: string | undefined;
}

/** Attributes. `inside`: the rest of the inode; `outside`: its block of attributes. @throws OtaError DEVICE_IO, UNSUPPORTED */
export function readAttributes(inside: Uint8Array, outside: Uint8Array | undefined, where: string): Ext4Attributes {
  const found = new Map<string, Uint8Array>();
  if (outside !== undefined) {
    if (readU32(outside, 0) !== ATTRIBUTE_MAGIC) throw damaged("a block of attributes is none", where);
    for (const [name, value] of attributes(outside.subarray(BLOCK_HEADER), outside, where)) found.set(name, value);
  }
  if (inside.length > 4 && readU32(inside, 0) === ATTRIBUTE_MAGIC) {
    const entries = inside.subarray(4);
    for (const [name, value] of attributes(entries, entries, where)) found.set(name, value);
  }
  const label = found.get(LABEL);
  const capabilities = capabilityBits(found.get(CAPABILITIES) ?? new Uint8Array(0));
  return {
    labels: {
      ...(label === undefined ? {} : { selinuxLabel: decodeText(label).replace(/\0$/, "") }),
      ...(capabilities === undefined ? {} : { capabilities }),
    },
    other: [...found.keys()].find((name) => name !== LABEL && name !== CAPABILITIES),
  };
}
