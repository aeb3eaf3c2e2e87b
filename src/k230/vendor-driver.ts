/**
 * The kernel's `/dev/ota` driver, byte for byte and write for write (specification section 4): what `--vendor-compatible`
 * installs with, and the yardstick of the safe profile. It lets through whatever the original lets through.
 */
import { concatBytes, equalBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { BlockTarget, Digests } from "../core/ports.ts";
import type { Medium } from "./explain-boot.ts";
import { decodeKdimgHeader, decodePart, KDIMG_VENDOR_TABLE_LIMIT } from "./kdimg.ts";
import type { KdimgPart } from "./kdimg.ts";
import { KDIMG_CONTENT_START, KDIMG_ENTRY_SIZE, KDIMG_HEADER_SIZE, SECTOR_SIZE } from "./layouts.ts";
import type { KdimgHeader } from "./layouts.ts";
import { decodeMetaBlock, encodeMetaBlock, metaOffsets, NO_BLOCK } from "./ota-meta.ts";
import type { MetaBlock, Slot } from "./ota-meta.ts";
import { writeBytes } from "./sector-io.ts";
import { findEntry, readToc } from "./toc.ts";
import type { TocEntry } from "./toc.ts";

/** What the driver logs, in the words of the golden vectors. */
export type DriverEvent =
  | "header-magic"
  | "header-crc"
  | "table-empty"
  | "table-alloc"
  | "table-crc"
  | "part-magic"
  | "toc-empty"
  | "toc-no-rtt"
  | "target-no-rtt"
  | "rtt-too-large"
  | "rtt-offset-low"
  | "rtapp-no-target"
  | "rtapp-too-large"
  | "rtapp-offset-low"
  | "media-io"
  | "part-write-io"
  | "sha-rtt"
  | "sha-rtapp"
  | "meta-no-entry"
  | "meta-size-zero"
  | "meta-unavailable"
  | "meta-write-io"
  | "meta-crc"
  | "version-gap"
  | "non-sequential"
  | "media-unsupported";

/** What ends a driver call: the kernel only says -1. */
class Refused extends Error {
  readonly event: DriverEvent;
  constructor(event: DriverEvent, cause?: unknown) {
    super(event, { cause });
    this.event = event;
  }
}

interface Selected {
  readonly kind: "rtt" | "rtapp";
  readonly part: KdimgPart;
  /** Byte offset of the target partition on the medium. */
  readonly at: number;
  written: number;
}

export interface DriverPort {
  readonly target: BlockTarget;
  readonly medium: Medium;
  readonly digests: Digests;
}

/** Result of the open call when the medium is a flash. */
export const DRIVER_UNSUPPORTED = -6;
const READ_BACK_PIECE = 4096;

/** One driver: the table of contents is kept for its life, everything else for one open. */
export class VendorDriver {
  /** Reasons logged since the driver was made. */
  readonly events: DriverEvent[] = [];
  /** What was switched to last. */
  installed: { slot: Slot; version: number } | undefined;
  /** Why the last failed call failed, where a medium was the cause. */
  lastCause: unknown;
  readonly #port: DriverPort;
  #toc: TocEntry[] | undefined;
  #opened = 0;
  #position = 0;
  #bad = false;
  #head: Uint8Array = new Uint8Array(0);
  #header: KdimgHeader | undefined;
  #table: Uint8Array | undefined;
  #tableHave = 0;
  #tableDone = false;
  #selected: Selected[] = [];
  #slot: Slot = "b";
  #version = 0;
  #finished = false;

  constructor(port: DriverPort) {
    this.#port = port;
  }

  /** 0, or -6 on a flash. The first open and the last close forget the transfer; another open shares it. */
  open(): number {
    if (this.#port.medium === "spi-nand" || this.#port.medium === "spi-nor") {
      this.events.push("media-unsupported");
      return DRIVER_UNSUPPORTED;
    }
    if (this.#opened === 0) this.#reset();
    this.#opened++;
    return 0;
  }

  close(): void {
    if (this.#opened > 0) this.#opened--;
    if (this.#opened === 0) this.#reset();
  }

  #reset(): void {
    this.#position = 0;
    this.#bad = false;
    this.#head = new Uint8Array(0);
    this.#header = undefined;
    this.#table = undefined;
    this.#tableHave = 0;
    this.#tableDone = false;
    this.#selected = [];
    this.#finished = false;
  }

  /** Bytes accepted since the first open. */
  get position(): number {
    return this.#position;
  }

  /** `buf.length`, or -1. */
  async write(position: number, buf: Uint8Array): Promise<number> {
    if (buf.length === 0 || this.#opened === 0 || this.#bad) return -1;
    if (position !== this.#position) {
      this.#bad = true;
      this.events.push("non-sequential");
      return -1;
    }
    try {
      await this.#take(buf);
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      this.events.push(e.event);
      this.lastCause = e.cause;
      this.#bad = true;
      return -1;
    }
    this.#position += buf.length;
    return buf.length;
  }

  async #take(buf: Uint8Array): Promise<void> {
    let rest = buf;
    let at = this.#position;
    if (this.#header === undefined) {
      const n = Math.min(KDIMG_HEADER_SIZE - this.#head.length, rest.length);
      this.#head = concatBytes(this.#head, rest.subarray(0, n));
      rest = rest.subarray(n);
      at += n;
      if (this.#head.length < KDIMG_HEADER_SIZE) return;
      this.#header = this.#readHeader(this.#head);
    }
    if (!this.#tableDone) {
      const table = (this.#table ??= new Uint8Array(this.#header.partCount * KDIMG_ENTRY_SIZE));
      const n = Math.min(table.length - this.#tableHave, rest.length);
      table.set(rest.subarray(0, n), this.#tableHave);
      this.#tableHave += n;
      rest = rest.subarray(n);
      at += n;
      if (this.#tableHave < table.length) return;
      await this.#evaluate(this.#header, table);
      this.#tableDone = true;
    }
    for (const selected of this.#selected) await this.#content(selected, at, rest);
    await this.#finish();
  }

  #readHeader(bytes: Uint8Array): KdimgHeader {
    let header: KdimgHeader;
    try {
      header = decodeKdimgHeader(bytes, (b) => this.#port.digests.crc32(b));
    } catch (e) {
      if (!(e instanceof OtaError)) throw e;
      throw new Refused(e.code === "KDIMG_BAD_HEADER_CRC" ? "header-crc" : "header-magic", e);
    }
    if (header.partCount === 0) throw new Refused("table-empty");
    if (header.partCount * KDIMG_ENTRY_SIZE > KDIMG_VENDOR_TABLE_LIMIT) throw new Refused("table-alloc");
    return header;
  }

  async #evaluate(header: KdimgHeader, table: Uint8Array): Promise<void> {
    if (this.#port.digests.crc32(table) !== header.tableCrc) throw new Refused("table-crc");
    let rtt: KdimgPart | undefined;
    let rtapp: KdimgPart | undefined;
    for (let i = 0; i < header.partCount; i++) {
      const part = decodePart(table, i, 2);
      // The driver knows one magic only.
      if (part === undefined || part.delta !== undefined) throw new Refused("part-magic");
      if (part.name === "rtt") rtt = part;
      if (part.name === "rtapp") rtapp = part;
    }
    let toc: TocEntry[] = [];
    if (rtt !== undefined) {
      toc = await this.#loadToc();
      await this.#chooseTarget(toc);
      const entry = findEntry(toc, `rtt_${this.#slot}`);
      if (entry === undefined) throw new Refused("target-no-rtt");
      this.#selected.push(this.#select("rtt", rtt, entry));
    }
    if (rtapp !== undefined) {
      const entry = rtt === undefined ? undefined : findEntry(toc, `rtapp_${this.#slot}`);
      if (entry === undefined) this.events.push("rtapp-no-target");
      else this.#selected.push(this.#select("rtapp", rtapp, entry));
    }
  }

  #select(kind: "rtt" | "rtapp", part: KdimgPart, entry: TocEntry): Selected {
    if (entry.size !== 0 && part.contentSize > entry.size) throw new Refused(`${kind}-too-large`);
    if (part.contentOffset < KDIMG_CONTENT_START) throw new Refused(`${kind}-offset-low`);
    return { kind, part, at: entry.offset, written: 0 };
  }

  async #loadToc(): Promise<TocEntry[]> {
    if (this.#toc !== undefined) return this.#toc;
    const toc = await this.#io("toc-empty", () => readToc(this.#port.target, "driver"));
    if (toc.length === 0) {
      this.events.push("toc-empty");
      throw new Refused("toc-no-rtt");
    }
    return (this.#toc = toc);
  }

  async #chooseTarget(toc: readonly TocEntry[]): Promise<void> {
    if (findEntry(toc, "rtt_a") === undefined && findEntry(toc, "rtt_b") === undefined) throw new Refused("toc-no-rtt");
    const [a, b] = [(await this.#readBlock(toc, "a")).version, (await this.#readBlock(toc, "b")).version];
    if (Math.abs(a - b) > 1) this.events.push("version-gap");
    this.#slot = b > a ? "a" : "b";
    this.#version = (Math.max(a, b) + 1) % 0x100000000;
  }

  async #readBlock(toc: readonly TocEntry[], slot: Slot): Promise<MetaBlock> {
    const { target } = this.#port;
    const at = metaOffsets(toc)?.[slot];
    if (at === undefined || at + SECTOR_SIZE > target.size) return NO_BLOCK;
    try {
      const block = decodeMetaBlock(await target.read(at, SECTOR_SIZE));
      if (block.fault === "crc") this.events.push("meta-crc");
      return block;
    } catch (e) {
      if (!(e instanceof OtaError)) throw e;
      this.events.push("media-io");
      return NO_BLOCK;
    }
  }

  /** Runs medium I/O; its failure is logged as `media-io` and fails the call as `event`. */
  async #io<T>(event: DriverEvent, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (e) {
      if (!(e instanceof OtaError)) throw e;
      // A cut or a cancelled run is no answer of the medium: it ends the program, not the call.
      if (e.kind === "interrupted") throw e;
      this.events.push("media-io");
      throw new Refused(event, e);
    }
  }

  async #content(selected: Selected, at: number, bytes: Uint8Array): Promise<void> {
    if (this.#finished) return;
    const { contentOffset, contentSize } = selected.part;
    const from = Math.max(at, contentOffset);
    const to = Math.min(at + bytes.length, contentOffset + contentSize);
    if (from >= to) return;
    const slice = bytes.subarray(from - at, to - at);
    const offset = selected.at + (from - contentOffset);
    await this.#io("part-write-io", () => writeBytes(this.#port.target, offset, slice));
    selected.written += slice.length;
  }

  async #finish(): Promise<void> {
    if (this.#finished || this.#selected[0]?.kind !== "rtt") return;
    if (this.#selected.some((s) => s.written !== s.part.contentSize)) return;
    for (const selected of this.#selected) await this.#verify(selected);
    await this.#writeMeta();
    this.#finished = true;
    this.installed = { slot: this.#slot, version: this.#version };
  }

  async #verify({ kind, part, at }: Selected): Promise<void> {
    const digest = this.#port.digests.create("sha256");
    for (let done = 0; done < part.contentSize; done += READ_BACK_PIECE) {
      const n = Math.min(READ_BACK_PIECE, part.contentSize - done);
      digest.update(await this.#io(`sha-${kind}`, () => this.#port.target.read(at + done, n)));
    }
    if (!equalBytes(digest.digest(), part.sha256)) throw new Refused(`sha-${kind}`);
  }

  async #writeMeta(): Promise<void> {
    const toc = await this.#loadToc();
    const entry = findEntry(toc, "ota_meta");
    const at = metaOffsets(toc)?.[this.#slot];
    if (at === undefined) {
      this.events.push(entry !== undefined && entry.size === 0 ? "meta-size-zero" : "meta-no-entry");
      throw new Refused("meta-unavailable");
    }
    await this.#io("meta-write-io", () => writeBytes(this.#port.target, at, encodeMetaBlock(this.#version)));
  }
}
