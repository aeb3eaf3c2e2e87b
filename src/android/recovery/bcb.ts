/** The bootloader control block in the partition misc, formats/android.md section 7.1. */
import { layout, text } from "../../core/layout.ts";
import type { BlockTarget, Device } from "../../core/ports.ts";
import { fromLatin1, toLatin1 } from "../latin1.ts";
import { failureText, openTarget } from "../updater/device-files.ts";

/** What 4.4 and 7.1 have in common; 7.1 keeps more behind the stage. */
export const BCB = layout("bootloader control block", 1088, {
  command: text(0, 32, { meaning: "what the loader starts: `boot-recovery` or nothing", source: "7.1" }),
  status: text(32, 32, { meaning: "what the loader has to say", source: "7.1" }),
  recovery: text(64, 768, { meaning: "`recovery` and one argument a line", source: "7.1" }),
  stage: text(832, 32, { meaning: "stage of a two-step package", source: "7.1" }),
});

/** Fields as byte strings, ended by the first NUL. */
export interface ControlBlock {
  readonly command: string;
  readonly status: string;
  readonly recovery: string;
  readonly stage: string;
}

export const EMPTY_BLOCK: ControlBlock = { command: "", status: "", recovery: "", stage: "" };

const FIELDS = { command: [0, 32], status: [32, 32], recovery: [64, 768], stage: [832, 32] } as const;

/** Pages of a flash partition that are read and written as one; the block stands in the second. */
const FLASH_PAGES = 3;

/** Where the block stands on a node: at its beginning, on flash in the second page. */
function placeOf(target: BlockTarget): number {
  return target.eraseSize === undefined ? 0 : (target.writeSize ?? 1);
}

/** Writes the block; flash is erased first, as the original does: its misc partition has one block for this alone. */
async function store(target: BlockTarget, block: Uint8Array): Promise<void> {
  const { eraseSize, writeSize = 1 } = target;
  if (eraseSize === undefined || target.erase === undefined) return target.write(0, block);
  const pages = (await target.read(0, Math.max(writeSize * FLASH_PAGES, BCB.size))).slice();
  pages.set(block, placeOf(target));
  await target.erase(0, eraseSize);
  await target.write(0, pages);
}

/** Reads the block; an unreadable one counts as empty. `node` undefined: the device has none. */
export async function readControlBlock(device: Device, node: string | undefined): Promise<ControlBlock> {
  if (node === undefined) return EMPTY_BLOCK;
  try {
    const target = await openTarget(device, node, "read");
    try {
      const bytes = await target.read(placeOf(target), BCB.size);
      const field = (name: keyof typeof FIELDS): string => {
        const [at, size] = FIELDS[name];
        // The last byte of the arguments is always taken for their end.
        const end = name === "recovery" ? at + size - 1 : at + size;
        return (fromLatin1(bytes, at, end).split("\0", 1) as [string])[0];
      };
      return {
        command: field("command"),
        status: field("status"),
        recovery: field("recovery"),
        stage: field("stage"),
      };
    } finally {
      await target.close();
    }
  } catch (e) {
    failureText(e);
    return EMPTY_BLOCK;
  }
}

/** Changes fields of the block, the rest of it stays; on the medium when this returns. */
export async function writeControlBlock(
  device: Device,
  node: string | undefined,
  fields: Partial<ControlBlock>,
): Promise<void> {
  if (node === undefined) return;
  const target = await openTarget(device, node, "write");
  try {
    const bytes = (await target.read(placeOf(target), BCB.size)).slice();
    for (const [name, value] of Object.entries(fields) as [keyof typeof FIELDS, string][]) {
      const [at, size] = FIELDS[name];
      bytes.fill(0, at, at + size);
      bytes.set(toLatin1(value).subarray(0, size - 1), at);
    }
    await store(target, bytes);
    await target.flush();
  } finally {
    await target.close();
  }
}
