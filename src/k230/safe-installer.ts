/**
 * The safe installer (specification section 11): a stream of bytes in, a new slot out.
 *
 * Order of what reaches the medium: the target's old version block is invalidated and flushed; contents are written, flushed,
 * read back and hashed, part by part; then, once the whole image has been seen, the version block, alone, flushed and read
 * back. The running slot is never touched. Every step is noted beside the medium, so the same image sent again goes on.
 */
import { concatBytes, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";
import type { Cancel, Digest, ProgressSink } from "../core/ports.ts";
import { silentProgress } from "../core/progress.ts";
import { checkCancel } from "../core/streams.ts";
import { readAhead } from "./card.ts";
import type { K230Card, Target } from "./card.ts";
import { expandPatch } from "./delta-image.ts";
import { noteInstalled, planInstall } from "./install-plan.ts";
import type { InstallPlan, PlanOptions } from "./install-plan.ts";
import { stateRecord } from "./install-state.ts";
import type { K230State, StateRecord } from "./install-state.ts";
import type { InstallPart } from "./installable.ts";
import {
  checkContentDigest,
  decodeKdimgHeader,
  decodePartTable,
  KDIMG_MAX_PARTS,
  paddedEnd,
  truncated,
} from "./kdimg.ts";
import type { ContentRange, Kdimg } from "./kdimg.ts";
import { KDIMG_ENTRY_SIZE, KDIMG_HEADER_SIZE, SECTOR_SIZE } from "./layouts.ts";
import type { KdimgHeader } from "./layouts.ts";
import { encodeMetaBlock } from "./ota-meta.ts";
import type { Slot } from "./ota-meta.ts";
import { contentWriter, writeMetaSector } from "./slot-writer.ts";
import type { ContentWriter } from "./slot-writer.ts";

export interface SafeOptions extends PlanOptions {
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
  /** Hex SHA-256 of header and part table that were checked before; another head is refused. Contents were hashed then. */
  readonly checkedImage?: string;
}

export interface InstalledReport {
  readonly outcome: "installed";
  readonly slot: Slot;
  readonly version: number;
  readonly parts: readonly {
    readonly name: string;
    readonly partition: string;
    readonly size: number;
    readonly written: boolean;
  }[];
  /** An earlier, interrupted run had done a part of the work. */
  readonly resumed: boolean;
  /** kdimg has no signature of its own. */
  readonly trust: "unsigned";
}

const READ_BACK_PIECE = 1024 * 1024;

interface PartJob {
  readonly part: InstallPart;
  readonly target: Target;
  /** Written and verified by an earlier run. */
  readonly skip: boolean;
  writer?: ContentWriter;
}

interface RangeJob {
  readonly range: ContentRange;
  readonly jobs: readonly PartJob[];
  digest?: Digest;
  /** The content so far, where it is a patch: it is expanded when it has come whole and its digest fits. */
  patch?: { readonly bytes: Uint8Array; have: number };
}

interface Active {
  readonly image: Kdimg;
  readonly imageId: string;
  readonly plan: InstallPlan;
  readonly jobs: readonly PartJob[];
  readonly ranges: readonly RangeJob[];
  readonly end: number;
  /** Index of the range the position is in or before. */
  current: number;
}

/** One update. After a failure every further call fails the same way. */
export class SafeInstaller {
  readonly #card: K230Card;
  readonly #options: SafeOptions;
  readonly #record: StateRecord;
  readonly #progress: ProgressSink;
  #state: K230State | undefined;
  #head: Uint8Array[] = [];
  #headSize = 0;
  #header: KdimgHeader | undefined;
  #active: Active | undefined;
  #position = 0;
  #invalidated = false;
  #written = 0;
  #readBack = 0;
  #failure: unknown;
  #report: InstalledReport | undefined;

  constructor(card: K230Card, options: SafeOptions = {}) {
    this.#card = card;
    this.#options = options;
    this.#record = stateRecord(card.state);
    this.#progress = options.progress ?? silentProgress;
  }

  /** Bytes taken so far. */
  get position(): number {
    return this.#position;
  }

  /** Takes the next bytes of the image, any number of them. @throws OtaError KDIMG_*, K230_*, DEVICE_*, CANCELLED */
  async update(bytes: Uint8Array): Promise<void> {
    await this.#guard(async () => {
      checkCancel(this.#options.cancel);
      const rest = this.#active === undefined ? await this.#takeHead(bytes) : bytes;
      if (this.#active !== undefined && rest.length > 0) await this.#takeContent(this.#active, rest);
    });
  }

  /**
   * Ends the image: everything must have come by now. Commits the slot.
   * @throws OtaError KDIMG_TRUNCATED, K230_READ_BACK, DEVICE_*
   */
  async finish(): Promise<InstalledReport> {
    if (this.#report !== undefined) return this.#report;
    return this.#guard(async () => {
      const active = this.#active;
      if (active === undefined) {
        const expected = this.#header === undefined ? KDIMG_HEADER_SIZE : this.#tableEnd(this.#header);
        throw truncated(expected, this.#position, "the image ends before its part table is complete");
      }
      const open = active.ranges[active.current];
      if (open !== undefined) {
        const end = open.range.offset + open.range.size;
        throw truncated(
          end,
          this.#position,
          `the image ends before the content of ${printable(open.range.parts[0]?.name ?? "")} is complete`,
        );
      }
      this.#report = await this.#commit(active);
      return this.#report;
    });
  }

  async #guard<T>(work: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) throw this.#failure as Error;
    try {
      return await work();
    } catch (e) {
      this.#failure = e;
      throw e;
    }
  }

  #tableEnd(header: KdimgHeader): number {
    return KDIMG_HEADER_SIZE + header.partCount * KDIMG_ENTRY_SIZE;
  }

  /** Gathers header and table; gives what lies behind them. */
  async #takeHead(bytes: Uint8Array): Promise<Uint8Array> {
    let rest = bytes;
    for (;;) {
      const wanted = this.#header === undefined ? KDIMG_HEADER_SIZE : this.#tableEnd(this.#header);
      const part = rest.subarray(0, wanted - this.#headSize);
      this.#head.push(concatBytes(part));
      this.#headSize += part.length;
      this.#position += part.length;
      rest = rest.subarray(part.length);
      if (this.#headSize < wanted) return rest;
      const head = concatBytes(...this.#head);
      this.#head = [head];
      if (this.#header !== undefined) {
        await this.#begin(this.#header, head);
        this.#head = [];
        return rest;
      }
      this.#header = decodeKdimgHeader(head, (b) => this.#card.digests.crc32(b));
      checkCount(this.#header);
    }
  }

  async #begin(header: KdimgHeader, head: Uint8Array): Promise<void> {
    const { digests } = this.#card;
    const parts = decodePartTable(header, head.subarray(KDIMG_HEADER_SIZE), (b) => digests.crc32(b));
    const hash = digests.create("sha256");
    hash.update(head);
    const imageId = toHex(hash.digest());
    const { checkedImage } = this.#options;
    if (checkedImage !== undefined && checkedImage !== imageId) {
      throw new OtaError("KDIMG_BAD_DIGEST", {
        what: "the image changed while it was being installed",
        where: "header and part table",
      });
    }
    const image = { header, parts, tableEnd: head.length, imageId };
    this.#state = await this.#record.load();
    const plan = await planInstall(this.#card, image, this.#state, this.#options);
    const jobs: PartJob[] = [];
    for (const part of plan.parts) {
      const target = plan.targets.find((t) => t.part === part.name) as Target;
      const skip =
        plan.committed || (plan.done.includes(part.name) && (await this.#holds(target, part, () => undefined)));
      jobs.push({ part, target, skip });
    }
    const ranges = plan.ranges.map((range): RangeJob => {
      const names = range.parts.map((p) => p.name);
      return { range, jobs: jobs.filter((j) => names.includes(j.part.name)) };
    });
    // Everything that could refuse the targets is asked before the first of them is written.
    for (const job of jobs) {
      if (!job.skip) job.writer = await contentWriter(this.#card.target, job.target.offset, job.part.result.size);
    }
    this.#active = { image, imageId, plan, jobs, ranges, end: paddedEnd(image), current: 0 };
  }

  async #takeContent(active: Active, bytes: Uint8Array): Promise<void> {
    const at = this.#position;
    const end = at + bytes.length;
    if (end > active.end) {
      throw new OtaError("KDIMG_TRAILING_DATA", {
        what: "bytes follow the last content",
        expected: `at most ${active.end} bytes`,
        found: end,
      });
    }
    for (;;) {
      const job = active.ranges[active.current];
      if (job === undefined || job.range.offset >= end) break;
      const from = Math.max(at, job.range.offset);
      const to = Math.min(end, job.range.offset + job.range.size);
      await this.#feed(active, job, bytes.subarray(from - at, to - at));
      if (to < job.range.offset + job.range.size) break;
      await this.#close(active, job);
      active.current++;
    }
    this.#position = end;
  }

  async #feed(active: Active, job: RangeJob, bytes: Uint8Array): Promise<void> {
    if (this.#options.checkedImage === undefined) {
      job.digest ??= this.#card.digests.create("sha256");
      job.digest.update(bytes);
    }
    if (job.jobs.some((j) => j.writer !== undefined && j.part.delta !== undefined)) {
      const patch = (job.patch ??= { bytes: new Uint8Array(job.range.size), have: 0 });
      patch.bytes.set(bytes, patch.have);
      patch.have += bytes.length;
    }
    for (const one of job.jobs) if (one.part.delta === undefined) await this.#write(active, one, bytes);
  }

  async #write(active: Active, { writer, part }: PartJob, bytes: Uint8Array): Promise<void> {
    if (writer === undefined) return;
    if (!this.#invalidated) await this.#invalidate(active);
    await writer.push(bytes);
    this.#written += bytes.length;
    this.#tell("write", active, part.name);
  }

  /** What a patch makes of the running slot's content, written as it is decoded. */
  async #expand(active: Active, { jobs, patch }: RangeJob): Promise<void> {
    if (patch === undefined) return;
    for (const job of jobs) {
      if (job.writer === undefined || job.part.delta === undefined) continue;
      const { cancel } = this.#options;
      const made = expandPatch(this.#card, active.plan.bases, job.part, patch.bytes, cancel);
      for await (const bytes of made) await this.#write(active, job, bytes);
    }
  }

  #tell(phase: string, { jobs }: Active, item: string, doneBytes = this.#written): void {
    const open = jobs.filter((j) => !j.skip);
    const totalBytes = open.reduce((sum, j) => sum + j.part.result.size, 0);
    const index = open.findIndex((j) => j.part.name === item) + 1;
    this.#progress.progress({ phase, item, index, count: open.length, doneBytes, totalBytes });
  }

  /** Takes the target's version block out of the game before its contents change. */
  async #invalidate({ plan, imageId }: Active): Promise<void> {
    const { slot, version } = plan;
    const done = plan.done.filter((name) => this.#active?.jobs.some((j) => j.skip && j.part.name === name));
    await this.#save({ writing: { image: imageId, slot, version, done } });
    if (plan.layout.meta[slot].valid) {
      await writeMetaSector(this.#card.target, plan.layout.metaAt[slot], new Uint8Array(SECTOR_SIZE));
    }
    this.#invalidated = true;
  }

  async #save(change: Partial<Record<keyof K230State, unknown>>): Promise<void> {
    const state = { ...this.#state, ...change } as K230State;
    this.#state = state;
    await this.#record.save(state);
  }

  /** A content has come whole: its digest must fit, and so must what is on the medium. */
  async #close(active: Active, job: RangeJob): Promise<void> {
    if (job.digest !== undefined) {
      const found = job.digest.digest();
      for (const part of job.range.parts) checkContentDigest(part, found);
    }
    const { target } = this.#card;
    await this.#expand(active, job);
    delete job.patch;
    for (const { writer } of job.jobs) await writer?.finish();
    if (!job.jobs.some((j) => j.writer !== undefined)) return;
    await target.flush();
    for (const { part, target: place, writer } of job.jobs) {
      if (writer === undefined) continue;
      const tell = (bytes: number): void => {
        this.#readBack += bytes;
        this.#tell("read back", active, part.name, this.#readBack);
      };
      if (!(await this.#holds(place, part, tell))) {
        throw new OtaError("K230_READ_BACK", {
          what: "what was read back is not what was written",
          where: `${place.name} on ${target.path}`,
          expected: toHex(part.result.sha256),
          hint: "The medium is failing; the running system was not touched.",
        });
      }
      const writing = this.#state?.writing;
      if (writing !== undefined) await this.#save({ writing: { ...writing, done: [...writing.done, part.name] } });
    }
  }

  /** Whether a partition holds a part's content. */
  async #holds(place: Target, part: InstallPart, tell: (bytes: number) => void): Promise<boolean> {
    const digest = this.#card.digests.create("sha256");
    for await (const bytes of readAhead(this.#card.target, place.offset, part.result.size, READ_BACK_PIECE)) {
      checkCancel(this.#options.cancel);
      digest.update(bytes);
      tell(bytes.length);
    }
    return toHex(digest.digest()) === toHex(part.result.sha256);
  }

  async #commit(active: Active): Promise<InstalledReport> {
    const { plan, jobs, imageId } = active;
    const { slot, version } = plan;
    if (!plan.committed) {
      // All parts may have been there already: the block must be out of the game all the same until now.
      if (!this.#invalidated) await this.#invalidate(active);
      await writeMetaSector(this.#card.target, plan.layout.metaAt[slot], encodeMetaBlock(version));
    }
    const bootId = this.#card.bootId;
    const installed = { image: imageId, slot, version, ...(bootId === undefined ? {} : { bootId }) };
    const trial = { slot, version, starts: 0, verdict: "pending" };
    noteInstalled(this.#card, slot);
    await this.#save({ writing: undefined, installed, trial });
    return {
      outcome: "installed",
      slot,
      version,
      parts: jobs.map(({ part, target, skip }) => ({
        name: part.name,
        partition: target.name,
        size: part.result.size,
        written: !skip,
      })),
      resumed: plan.committed || jobs.some((j) => j.skip),
      trust: "unsigned",
    };
  }
}

function checkCount({ partCount }: KdimgHeader): void {
  if (partCount === 0) throw new OtaError("KDIMG_NO_PARTS", { what: "the part table is empty", where: "offset 0x10" });
  if (partCount <= KDIMG_MAX_PARTS) return;
  throw new OtaError("KDIMG_TOO_MANY_PARTS", {
    what: "the part table is longer than any real image needs",
    where: "offset 0x10",
    expected: `at most ${KDIMG_MAX_PARTS} parts`,
    found: partCount,
  });
}
