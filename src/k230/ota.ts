/**
 * The update library, in the shape of the vendor's: create, update in pieces of any size, destroy, or a whole file at once.
 *
 * | vendor's C library | here |
 * |---|---|
 * | `k230_ota_create()` | {@link createOta} |
 * | `k230_ota_update(ctx, buf, size)` | {@link Ota.update} |
 * | `k230_ota_destroy(ctx)` | {@link Ota.destroy} |
 * | `k230_ota_write_file(path, chunk)` | {@link Ota.writeFile} |
 */
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { ByteStream, Device, ProgressSink, RandomReader } from "../core/ports.ts";
import { silentProgress } from "../core/progress.ts";
import { checkCancel } from "../core/streams.ts";
import { openCard, readAhead } from "./card.ts";
import type { CardOptions, K230Card } from "./card.ts";
import { checkPatches } from "./delta-image.ts";
import { planInstall } from "./install-plan.ts";
import { stateRecord } from "./install-state.ts";
import { checkContentDigest, contentEnd, paddedEnd, readKdimg, truncated } from "./kdimg.ts";
import { KDIMG_HEADER_SIZE } from "./layouts.ts";
import type { Slot } from "./ota-meta.ts";
import { scanKdimg, trailingBytes } from "./scan.ts";
import { SafeInstaller } from "./safe-installer.ts";
import type { InstalledReport, SafeOptions } from "./safe-installer.ts";
import { VendorDriver } from "./vendor-driver.ts";
import type { DriverEvent } from "./vendor-driver.ts";

export interface OtaOptions extends SafeOptions {
  /** `vendor`: the kernel driver's exact behaviour, harmful cases included. Default `safe`. */
  readonly profile?: "safe" | "vendor";
}

/** What the driver's way ended in. */
export interface VendorReport {
  readonly outcome: "installed" | "accepted-nothing-installed";
  readonly slot?: Slot;
  readonly version?: number;
  /** Reasons the driver logged. */
  readonly events: readonly DriverEvent[];
}

export type OtaReport = InstalledReport | VendorReport | { readonly outcome: "nothing" };

/** One update session. */
export interface Ota {
  /** Bytes accepted so far. */
  readonly position: number;
  /**
   * Takes the next bytes, any number but none. A failure is final for the session, but not that of an empty piece.
   * @throws OtaError KDIMG_*, K230_*, DEVICE_*, CANCELLED
   */
  update(bytes: Uint8Array): Promise<void>;
  /** Like {@link Ota.update}, with the position the bytes stand at. @throws OtaError KDIMG_NOT_SEQUENTIAL as well */
  write(position: number, bytes: Uint8Array): Promise<void>;
  /**
   * Ends the session, and the safe profile commits. Nothing is reported as installed before it.
   * After a failed update it only ends the session. @throws OtaError KDIMG_TRUNCATED, K230_READ_BACK, DEVICE_*
   */
  destroy(): Promise<OtaReport>;
  /** Ends the session without committing: the source broke off. What is written stays for a resume. */
  abort(): Promise<void>;
  /**
   * Installs a whole image and ends the session. The safe profile reads and checks all of it before the first write.
   * @param chunkSize bytes handed over at a time, default 1 MiB
   */
  writeFile(image: RandomReader, chunkSize?: number): Promise<OtaReport>;
}

const DEFAULT_CHUNK = 1024 * 1024;
const sessions = new WeakSet<object>();

/**
 * Opens an update session on a device's card, or on a card that is open already.
 * @throws OtaError DEVICE_BUSY while another session is open, DEVICE_*, K230_MEDIUM (vendor profile)
 */
export async function createOta(where: Device | K230Card, options: OtaOptions & CardOptions = {}): Promise<Ota> {
  const owner: object = "nodes" in where ? where : (where.owner ?? where.target);
  if (sessions.has(owner)) throw new OtaError("DEVICE_BUSY", "another update session is open on this medium");
  sessions.add(owner);
  const ends = [(): void => void sessions.delete(owner)] as (() => void | Promise<void>)[];
  const end = async (): Promise<void> => {
    for (const step of ends) await step();
  };
  try {
    const card = "nodes" in where ? await openCard(where, options) : where;
    if ("nodes" in where) ends.push(() => card.target.close());
    return options.profile === "vendor" ? new VendorSession(card, options, end) : new SafeSession(card, options, end);
  } catch (e) {
    await end();
    throw e;
  }
}

function emptyPiece(): OtaError {
  return new OtaError("K230_SESSION", { what: "an update needs at least one byte", found: 0 });
}

abstract class Session implements Ota {
  protected readonly card: K230Card;
  protected readonly options: OtaOptions;
  readonly #release: () => Promise<void>;
  #ended = false;
  #failure: unknown;

  constructor(card: K230Card, options: OtaOptions, release: () => Promise<void>) {
    this.card = card;
    this.options = options;
    this.#release = release;
  }

  abstract get position(): number;
  protected abstract take(position: number, bytes: Uint8Array): Promise<void>;
  protected abstract end(failed: boolean): Promise<OtaReport>;
  /** Before a whole file is written. */
  protected abstract check(image: RandomReader): Promise<void>;

  update(bytes: Uint8Array): Promise<void> {
    return this.write(this.position, bytes);
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    if (this.#ended) throw new OtaError("K230_SESSION", "the update session has ended");
    if (bytes.length === 0) throw emptyPiece();
    if (this.#failure !== undefined) throw this.#failure as Error;
    try {
      await this.take(position, bytes);
    } catch (e) {
      this.#failure = e;
      throw e;
    }
  }

  async destroy(): Promise<OtaReport> {
    if (this.#ended) throw new OtaError("K230_SESSION", "the update session has ended");
    this.#ended = true;
    try {
      return await this.end(this.#failure !== undefined);
    } finally {
      await this.#release();
    }
  }

  async abort(): Promise<void> {
    this.#failure ??= new OtaError("CANCELLED", "the update was given up");
    if (!this.#ended) await this.destroy();
  }

  async writeFile(image: RandomReader, chunkSize = DEFAULT_CHUNK): Promise<OtaReport> {
    if (!Number.isSafeInteger(chunkSize) || chunkSize < 1) {
      throw new OtaError("USAGE", { what: "chunk size must be a positive number of bytes", found: chunkSize });
    }
    try {
      await this.check(image);
      // Read in large pieces whatever the chunk is: what is handed over, not what is read, is the caller's choice.
      const piece = Math.ceil(DEFAULT_CHUNK / chunkSize) * chunkSize;
      for await (const bytes of readAhead(image, 0, image.size, piece)) {
        for (let at = 0; at < bytes.length; at += chunkSize) await this.update(bytes.subarray(at, at + chunkSize));
      }
    } catch (e) {
      this.#failure = e;
      await this.destroy();
      throw e;
    }
    return this.destroy();
  }
}

class SafeSession extends Session {
  #installer: SafeInstaller;

  constructor(card: K230Card, options: OtaOptions, release: () => Promise<void>) {
    super(card, options, release);
    this.#installer = new SafeInstaller(card, options);
  }

  get position(): number {
    return this.#installer.position;
  }

  protected async take(position: number, bytes: Uint8Array): Promise<void> {
    if (position !== this.position) throw notSequential(this.position, position);
    await this.#installer.update(bytes);
  }

  protected async check(image: RandomReader): Promise<void> {
    const checkedImage = await checkImage(this.card, image, this.options);
    this.#installer = new SafeInstaller(this.card, { ...this.options, checkedImage });
  }

  protected async end(failed: boolean): Promise<OtaReport> {
    return failed || this.position === 0 ? { outcome: "nothing" } : this.#installer.finish();
  }
}

function notSequential(expected: number, found: number): OtaError {
  return new OtaError("KDIMG_NOT_SEQUENTIAL", {
    what: "bytes are taken in order only",
    expected: `position ${expected}`,
    found,
  });
}

/**
 * Everything the safe profile checks of a whole image: structure, hardware, targets, every digest. Writes nothing.
 * @returns hex SHA-256 of header and part table
 * @throws OtaError KDIMG_*, K230_*, DEVICE_*, CANCELLED
 */
export async function checkImage(card: K230Card, image: RandomReader, options: OtaOptions = {}): Promise<string> {
  const { digests } = card;
  const progress: ProgressSink = options.progress ?? silentProgress;
  const parsed = await readKdimg(image, (b) => digests.crc32(b));
  const hash = digests.create("sha256");
  hash.update(await image.read(0, parsed.tableEnd));
  const imageId = toHex(hash.digest());
  // First what costs nothing, then the digests of every content.
  const state = await stateRecord(card.state).load();
  const plan = await planInstall(card, { ...parsed, imageId }, state, options);
  const { ranges } = plan;
  const end = contentEnd(parsed);
  if (image.size < end) throw truncated(end, image.size, "the image ends before its last content");
  if (image.size > paddedEnd(parsed)) {
    throw new OtaError("KDIMG_TRAILING_DATA", {
      what: "bytes follow the last content",
      expected: `at most ${paddedEnd(parsed)} bytes`,
      found: image.size,
    });
  }
  const totalBytes = ranges.reduce((sum, r) => sum + r.size, 0);
  let doneBytes = 0;
  for (const [i, range] of ranges.entries()) {
    const digest = digests.create("sha256");
    const item = range.parts[0]?.name ?? "";
    for await (const bytes of readAhead(image, range.offset, range.size, DEFAULT_CHUNK)) {
      checkCancel(options.cancel);
      digest.update(bytes);
      doneBytes += bytes.length;
      progress.progress({ phase: "check", item, index: i + 1, count: ranges.length, doneBytes, totalBytes });
    }
    const found = digest.digest();
    for (const part of range.parts) checkContentDigest(part, found);
  }
  if (!plan.committed) await checkPatches(card, image, plan, options.cancel);
  return imageId;
}

/**
 * The checks of {@link checkImage} for an image that can only be read from its beginning (compressed), in a pass of its own.
 * @returns hex SHA-256 of header and part table
 * @throws OtaError KDIMG_*, K230_*
 */
export async function checkImageStream(card: K230Card, image: ByteStream, options: OtaOptions = {}): Promise<string> {
  const scan = await scanKdimg(image, card.digests);
  const [problem] = scan.problems;
  const { header, parts, tableEnd, imageId } = scan;
  if (problem !== undefined || header === undefined) {
    throw problem ?? new OtaError("KDIMG_BAD_MAGIC", { what: "no kdimg header", where: "offset 0x0" });
  }
  const state = await stateRecord(card.state).load();
  await planInstall(card, { header, parts, tableEnd, imageId }, state, options);
  const trailing = trailingBytes(scan);
  if (trailing === 0) return imageId;
  throw new OtaError("KDIMG_TRAILING_DATA", { what: "bytes follow the last content", expected: 0, found: trailing });
}

const EVENT_CODES: Readonly<Partial<Record<DriverEvent, ErrorCode>>> = {
  "header-magic": "KDIMG_BAD_MAGIC",
  "header-crc": "KDIMG_BAD_HEADER_CRC",
  "table-empty": "KDIMG_NO_PARTS",
  "table-alloc": "KDIMG_TOO_MANY_PARTS",
  "table-crc": "KDIMG_BAD_TABLE_CRC",
  "part-magic": "KDIMG_BAD_PART_MAGIC",
  "toc-empty": "K230_NO_TOC",
  "toc-no-rtt": "K230_NOT_AB",
  "target-no-rtt": "K230_TARGET_MISSING",
  "rtt-too-large": "K230_TARGET_TOO_SMALL",
  "rtapp-too-large": "K230_TARGET_TOO_SMALL",
  "rtt-offset-low": "KDIMG_CONTENT_LOW",
  "rtapp-offset-low": "KDIMG_CONTENT_LOW",
  "sha-rtt": "KDIMG_BAD_DIGEST",
  "sha-rtapp": "KDIMG_BAD_DIGEST",
  "meta-unavailable": "K230_NO_META",
  "non-sequential": "KDIMG_NOT_SEQUENTIAL",
  "media-unsupported": "K230_MEDIUM",
};

class VendorSession extends Session {
  readonly #driver: VendorDriver;
  #fed = 0;

  constructor(card: K230Card, options: OtaOptions, release: () => Promise<void>) {
    super(card, options, release);
    this.#driver = new VendorDriver(card);
    if (this.#driver.open() < 0) throw this.#refusal();
  }

  get position(): number {
    return this.#driver.position;
  }

  #refusal(): OtaError {
    const { lastCause, events } = this.#driver;
    const event = events.at(-1);
    if (lastCause instanceof OtaError && lastCause.kind === "device") return lastCause;
    const code = (event === undefined ? undefined : EVENT_CODES[event]) ?? "DEVICE_IO";
    return new OtaError(code, { what: "the driver refuses the image", found: events.join(", ") }, lastCause);
  }

  protected async take(position: number, bytes: Uint8Array): Promise<void> {
    checkCancel(this.options.cancel);
    if ((await this.#driver.write(position, bytes)) < 0) throw this.#refusal();
    this.#fed += bytes.length;
    this.options.progress?.progress({ phase: "write", doneBytes: this.#fed, totalBytes: this.#fed });
  }

  protected async check(image: RandomReader): Promise<void> {
    // The vendor's reader checks nothing; an image without a header is not even that.
    if (image.size < KDIMG_HEADER_SIZE) this.options.progress?.note("warning", "the image is shorter than a header");
  }

  protected async end(): Promise<OtaReport> {
    const { installed, events } = this.#driver;
    this.#driver.close();
    await this.card.target.flush();
    return installed === undefined
      ? { outcome: "accepted-nothing-installed", events }
      : { outcome: "installed", ...installed, events };
  }
}
