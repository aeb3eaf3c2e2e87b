/**
 * What the stock loader would do with a medium (specification section 5): which slot it picks, what it loads, its one
 * automatic fallback, and the hang it is known for. Decides exactly as the loader does, with a sentence for every step.
 *
 * Not handled: the hardware unpacker's own limits; loaders before release v1.7 (they know type 0 only and no version floor).
 */
import { hexOffset, readU32 } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { RandomReader } from "../core/ports.ts";
import { printable } from "../core/text.ts";
import { loadFirmware } from "./load-firmware.ts";
import type { LoadOptions, LoadResult } from "./load-firmware.ts";
import { SECTOR_SIZE, TOC_ENTRY_SIZE, TOC_OFFSET, TOC_SIZE } from "./layouts.ts";
import { chooseSlot, decodeMetaPair, metaOffsets, NO_BLOCK } from "./ota-meta.ts";
import type { MetaPair, Slot } from "./ota-meta.ts";
import { decodeToc } from "./toc.ts";
import type { TocEntry } from "./toc.ts";

export type Medium = "sdcard" | "emmc" | "spi-nand" | "spi-nor";

export interface BootOptions extends Omit<LoadOptions, "dramBase" | "dramSize"> {
  /** Default `sdcard`. The stock loader reads `ota_meta` on SD cards and eMMC only. */
  readonly medium?: Medium;
  /** The loader reads `ota_meta` on this medium as well, whatever the stock one does. */
  readonly readsMeta?: boolean;
  /** First byte of the DRAM, default 0. */
  readonly dramBase?: number;
  /** Bytes of DRAM, default 512 MiB. */
  readonly dramSize?: number;
}

export interface BootLoad {
  readonly entry: string;
  readonly slot: "A" | "B";
  /** Pass, 1 or 2. */
  readonly try: number;
  readonly ok: boolean;
}

export interface BootReport {
  readonly status: "boots" | "refuses" | "hangs-without-booting";
  readonly firstSlot: "A" | "B" | null;
  readonly finalSlot: "A" | "B" | null;
  readonly loads: readonly BootLoad[];
  readonly booted: readonly { readonly core: number; readonly entry: string; readonly addr: string }[];
  /** What the loader's function returns when it refuses. */
  readonly returnCode?: number;
  /** Uncompressed size of the application loaded last, which core 1 is told, bytes. */
  readonly rtappUncompressedSize?: number;
  readonly meta: { readonly A: BlockView; readonly B: BlockView };
  /** One sentence a step. */
  readonly steps: readonly string[];
}

export interface BlockView {
  /** Byte offset of the sector the loader reads; null when there is none. */
  readonly offset: number | null;
  readonly valid: boolean;
  readonly version?: number;
}

interface Entry extends TocEntry {
  /** The loader changes the boot byte in RAM as it goes. */
  bootNow: number;
  address: number;
}

const upper = (slot: Slot): "A" | "B" => (slot === "a" ? "A" : "B");

/** The two blocks as the loader reads them: the whole sector at `floor(offset / 512)`. */
export async function readMetaAsLoader(medium: RandomReader, toc: readonly TocEntry[]): Promise<MetaPair> {
  const offsets = metaOffsets(toc);
  if (offsets === undefined) return { a: NO_BLOCK, b: NO_BLOCK };
  const read = async (offset: number): Promise<Uint8Array> => {
    const at = Math.floor(offset / SECTOR_SIZE) * SECTOR_SIZE;
    if (at + SECTOR_SIZE > medium.size) return new Uint8Array(0);
    try {
      return await medium.read(at, SECTOR_SIZE);
    } catch (e) {
      // A page that a power cut tore does not fit its ECC: no valid block, and no reason to refuse the next update.
      if (e instanceof OtaError && e.code === "DEVICE_IO") return new Uint8Array(0);
      throw e;
    }
  };
  return decodeMetaPair(await read(offsets.a), await read(offsets.b));
}

class Loader {
  readonly steps: string[] = [];
  readonly loads: BootLoad[] = [];
  rtappSize: number | undefined;
  readonly #medium: RandomReader;
  readonly #options: LoadOptions;

  constructor(medium: RandomReader, options: LoadOptions) {
    this.#medium = medium;
    this.#options = options;
  }

  /** One pass over the table for a slot; false at the first image that does not load. */
  async pass(number: 1 | 2, slot: Slot, entries: readonly Entry[]): Promise<boolean> {
    const skipped = slot === "a" ? ["rtt_b", "rtapp_b"] : ["rtt_a", "rtapp_a"];
    for (const entry of entries) {
      if (entry.load === 0) continue;
      const wantsBoot = entry.bootNow !== 0;
      entry.bootNow &= 0xfe;
      if (skipped.includes(entry.name)) continue;
      const result = await this.#load(entry, { number, slot });
      if (!result.ok) return false;
      entry.address = result.address;
      if (wantsBoot) entry.bootNow |= 1;
    }
    return true;
  }

  async #load(entry: Entry, pass: { number: 1 | 2; slot: Slot }): Promise<LoadResult> {
    const result = await loadFirmware(this.#medium, entry, this.#options);
    this.loads.push({ entry: entry.name, slot: upper(pass.slot), try: pass.number, ok: result.ok });
    const name = printable(entry.name);
    if (result.ok) {
      if (result.name === "rtapp") this.rtappSize = result.size;
      const assumed = result.assumed === undefined ? "" : `; assumed, not checked: ${result.assumed}`;
      this.steps.push(`Loads ${name} to ${hexOffset(result.address)}, ${result.size} bytes${assumed}.`);
    } else {
      this.steps.push(`Cannot load ${name}: ${result.reason}.`);
    }
    return result;
  }
}

function explainChoice(meta: MetaPair, slot: Slot): string {
  const { a, b } = meta;
  const say = (block: MetaPair["a"]): string =>
    block.valid ? `version ${block.version}` : block.fault === "crc" ? "invalid (CRC)" : "invalid";
  const why =
    !a.valid && !b.valid
      ? "neither version block is valid, so it is A"
      : !a.valid || !b.valid
        ? "only one version block is valid"
        : a.version === b.version
          ? "a tie goes to A"
          : "the higher version wins";
  return `Chooses slot ${upper(slot)}: block A is ${say(a)}, block B is ${say(b)}; ${why}.`;
}

/**
 * What the loader does with a medium.
 *
 * @param medium the whole card, eMMC or flash
 * @throws OtaError DEVICE_* when the medium itself cannot be read
 */
export async function explainBoot(medium: RandomReader, options: BootOptions): Promise<BootReport> {
  const kind = options.medium ?? "sdcard";
  const length = Math.min(TOC_SIZE, Math.max(0, medium.size - TOC_OFFSET));
  const table = length === 0 ? new Uint8Array(0) : await medium.read(TOC_OFFSET, length);
  const toc = decodeToc(table);
  const loader = new Loader(medium, {
    ...options,
    dramBase: options.dramBase ?? 0,
    dramSize: options.dramSize ?? 0x20000000,
  });
  const { steps, loads } = loader;
  if (toc.length === 0) {
    steps.push(`Finds no entry in the table of contents at ${hexOffset(TOC_OFFSET)} and gives up.`);
    const none = { offset: null, valid: false };
    return {
      status: "refuses",
      firstSlot: null,
      finalSlot: null,
      loads,
      booted: [],
      returnCode: -7,
      meta: { A: none, B: none },
      steps,
    };
  }
  steps.push(`Reads ${toc.length} entries of the table of contents.`);
  const readsMeta = options.readsMeta ?? (kind === "sdcard" || kind === "emmc");
  const meta = readsMeta ? await readMetaAsLoader(medium, toc) : { a: NO_BLOCK, b: NO_BLOCK };
  const offsets = readsMeta ? metaOffsets(toc) : undefined;
  if (!readsMeta) steps.push(`Does not read ota_meta on ${kind}.`);
  else if (offsets === undefined) steps.push("Finds no usable ota_meta entry.");
  const first = chooseSlot(meta);
  steps.push(explainChoice(meta, first));
  const entries: Entry[] = toc.map((e, i) => ({
    ...e,
    bootNow: e.boot,
    address: readU32(table, i * TOC_ENTRY_SIZE + 60),
  }));
  let final = first;
  let loaded = await loader.pass(1, first, entries);
  if (!loaded) {
    final = first === "a" ? "b" : "a";
    steps.push(`Falls back to slot ${upper(final)} for this start only; the version blocks stay as they are.`);
    loaded = await loader.pass(2, final, entries);
  }
  const view = (slot: Slot): BlockView => ({
    offset: offsets === undefined ? null : offsets[slot],
    valid: meta[slot].valid,
    ...(meta[slot].valid ? { version: meta[slot].version } : {}),
  });
  const common = {
    firstSlot: upper(first),
    finalSlot: upper(final),
    loads,
    meta: { A: view("a"), B: view("b") },
    steps,
  };
  if (!loaded) {
    steps.push("The second pass failed too: gives up, nothing is started.");
    return { ...common, status: "refuses", booted: [], returnCode: -1 };
  }
  const booted = startOrder(entries);
  for (const { core, entry, addr } of booted) steps.push(`Starts ${printable(entry)} on core ${core} at ${addr}.`);
  // The loader hands the size over when it starts core 1, and only then.
  const size = booted.some((b) => b.core === 1) ? loader.rtappSize : undefined;
  if (booted.length > 0) {
    return { ...common, status: "boots", booted, ...(size === undefined ? {} : { rtappUncompressedSize: size }) };
  }
  steps.push(
    first === final
      ? "No loaded entry is marked to be started: waits for ever."
      : "No entry is marked to be started any more (a boot byte of 0x1 was cleared in the first pass): waits for ever.",
  );
  return { ...common, status: "hangs-without-booting", booted };
}

/** The last marked entry of each core; core 1 first, then core 0. */
function startOrder(entries: readonly Entry[]): BootReport["booted"] {
  const last = new Map<number, Entry>();
  for (const entry of entries) if ((entry.bootNow & 1) === 1) last.set((entry.bootNow >> 1) & 3, entry);
  return [1, 0].flatMap((core) => {
    const entry = last.get(core);
    return entry === undefined ? [] : [{ core, entry: entry.name, addr: hexOffset(entry.address) }];
  });
}
