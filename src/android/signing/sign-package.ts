/**
 * Writes a signed package: entries sorted, JAR part behind them, and the signature over the whole file in the archive's
 * comment (formats/android.md 5.1).
 */
import { compareBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Codecs, Digests, ProgressSink, RandomReader } from "../../core/ports.ts";
import { checkCancel, memoryReader, streamRange } from "../../core/streams.ts";
import { encodeText } from "../../core/text.ts";
import type { ZipEntry, ZipTime } from "../../core/zip/entry.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import { createZipWriter, setZipComment, type ZipEntryInput, type ZipSink } from "../../core/zip/write.ts";
import { archiveEntry, createPlan, type PackagePlan, type PlannedEntry } from "../releasetools/package-plan.ts";
import { isSignatureEntry, MANIFEST_NAME, OTACERT_NAME } from "../signature-entries.ts";
import { certificateFacts, encodeSignatureBlock } from "./cms.ts";
import { encodeSignatureComment } from "./comment.ts";
import { encodeJarTexts, type ManifestEntry } from "./jar.ts";
import type { PackageSigner } from "./signer.ts";

export interface SignOptions {
  readonly codecs: Pick<Codecs, "deflateRaw">;
  readonly digests: Digests;
  readonly progress: ProgressSink;
  readonly cancel?: Cancel;
  /** `7.1`: stored entries first, their data at multiples of four. Default `4.4`. */
  readonly era?: "4.4" | "7.1";
  /** Also the original signer's misnamed attribute. */
  readonly profile?: "safe" | "vendor";
}

/** Where the package is written; it is read back to be signed. */
export interface SignedOutput extends ZipSink {
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** First entry of a JAR: an empty field that says so. */
const JAR_EXTRA = new Uint8Array([0xfe, 0xca, 0, 0]);
/** FAT, version 2.0: what the original signer writes, with no modes. */
const FAT_20 = 20;

/** Certificate's first valid moment and an hour, as a zip says it; in UTC, so that the machine's zone is not in the file. */
function entryTime(notBefore: Date): ZipTime {
  const t = new Date(notBefore.getTime() + 3_600_000);
  return {
    year: Math.max(1980, t.getUTCFullYear()),
    month: t.getUTCMonth() + 1,
    day: t.getUTCDate(),
    hour: t.getUTCHours(),
    minute: t.getUTCMinutes(),
    second: t.getUTCSeconds(),
  };
}

/** Whether an earlier signature left this entry behind, or it is a folder: such entries are not taken over. */
function isDropped(name: string): boolean {
  return name.endsWith("/") || isSignatureEntry(name);
}

function sortedEntries(entries: readonly PlannedEntry[], era: "4.4" | "7.1"): PlannedEntry[] {
  const stored = (e: PlannedEntry): number => (era === "7.1" && e.input.method !== 0 ? 1 : 0);
  return entries
    .filter((e) => !isDropped(e.input.name))
    .map((e) => [encodeText(e.input.name), e] as const)
    .sort(([a, x], [b, y]) => stored(x) - stored(y) || compareBytes(a, b))
    .map(([, e]) => e);
}

/** How the entries of a signed package are written, one after the other. */
function entryInputs(when: ZipTime, era: "4.4" | "7.1"): (name: string, method: 0 | 8) => ZipEntryInput {
  let first = true;
  return (name, method) => {
    const jar = first ? { extra: JAR_EXTRA, localExtra: JAR_EXTRA } : {};
    first = false;
    const align = era === "7.1" && method === 0 ? { align: 4 } : {};
    return { name, method, when, externalAttributes: 0, versionMadeBy: FAT_20, ...jar, ...align };
  };
}

/**
 * Where the stored entries of a plan will stand in the package that {@link signPlan} makes of it in the manner of 7.1:
 * property files name these places, inside the package itself. Depends on names and sizes alone.
 */
export async function signedPlaces(plan: Pick<PackagePlan, "entries">): Promise<ReadonlyMap<string, ZipEntry>> {
  const nowhere: ZipSink = { write: () => Promise.resolve() };
  const codecs: Pick<Codecs, "deflateRaw"> = { deflateRaw: (input) => input };
  const zip = createZipWriter(nowhere, { codecs, crc32: () => 0 });
  const input = entryInputs(entryTime(new Date(0)), "7.1");
  const places = new Map<string, ZipEntry>();
  const blank = new Uint8Array(1 << 20);
  for (const entry of sortedEntries(plan.entries, "7.1")) {
    const { name, method } = entry.input;
    if (method !== 0) continue;
    const data = async function* (): ByteStream {
      await Promise.resolve();
      for (let left = entry.size; left > 0; left -= blank.length) yield blank.subarray(0, Math.min(left, blank.length));
    };
    places.set(name, await zip.add(input(name, 0), { size: entry.size, data: data() }));
  }
  return places;
}

/**
 * Writes a plan of stored entries unsigned and laid out as {@link signPlan} would in the manner of 7.1, so that signing it
 * later moves nothing. Gives the size of the file.
 */
export async function writeUnsignedPlan(
  plan: Pick<PackagePlan, "entries">,
  output: ZipSink,
  options: Pick<SignOptions, "codecs" | "digests" | "cancel">,
): Promise<number> {
  const zip = createZipWriter(output, { codecs: options.codecs, crc32: (b, c) => options.digests.crc32(b, c) });
  const input = entryInputs({ year: 2009, month: 1, day: 1, hour: 0, minute: 0, second: 0 }, "7.1");
  for (const entry of sortedEntries(plan.entries, "7.1")) {
    checkCancel(options.cancel);
    await zip.add(input(entry.input.name, entry.input.method ?? 8), { size: entry.size, data: entry.content() });
  }
  return (await zip.finish()).size;
}

/** Signs a plan into `output`, which must be empty. Gives the size of the file. @throws OtaError ANDROID_KEY, ANDROID_SIGNER */
export async function signPlan(
  plan: Pick<PackagePlan, "entries">,
  output: SignedOutput,
  signer: PackageSigner,
  options: SignOptions,
): Promise<number> {
  const era = options.era ?? "4.4";
  const when = entryTime(certificateFacts(signer.certificate).notBefore);
  const zip = createZipWriter(output, { codecs: options.codecs, crc32: (b, c) => options.digests.crc32(b, c) });
  const manifest: ManifestEntry[] = [];
  const entries = sortedEntries(plan.entries, era);
  const totalBytes = entries.reduce((sum, e) => sum + e.size, 0);
  let doneBytes = 0;
  const input = entryInputs(when, era);
  for (const entry of entries) {
    checkCancel(options.cancel);
    const digest = options.digests.create(signer.hash);
    const { name, method = 8 } = entry.input;
    const hashed = async function* (): ByteStream {
      for await (const chunk of entry.content()) {
        digest.update(chunk);
        doneBytes += chunk.length;
        options.progress.progress({ phase: "write", doneBytes, totalBytes });
        yield chunk;
      }
    };
    if (entry.raw === undefined) await zip.add(input(name, method), { size: entry.size, data: hashed() });
    else {
      for await (const _ of hashed());
      await zip.addRaw(input(name, method), entry.raw());
    }
    manifest.push({ name, digest: digest.digest() });
  }
  const certDigest = options.digests.create(signer.hash);
  certDigest.update(signer.otacert);
  manifest.push({ name: OTACERT_NAME, digest: certDigest.digest() });
  await zip.add(input(OTACERT_NAME, 8), signer.otacert);

  const { manifest: manifestText, signatureFile } = encodeJarTexts(manifest, signer.hash, {
    digests: options.digests,
    vendor: options.profile === "vendor",
  });
  await zip.add(input(MANIFEST_NAME, 8), manifestText);
  await zip.add(input("META-INF/CERT.SF", 8), signatureFile);
  const jarSignature = await signer.sign(streamRange(memoryReader(signatureFile)));
  await zip.add(
    input(`META-INF/CERT.${signer.keyType === "ec" ? "EC" : "RSA"}`, 8),
    encodeSignatureBlock(signer, jarSignature),
  );
  const { endOffset, size } = await zip.finish();
  return size + (await signWholeFile(output, size, endOffset, signer, options));
}

/** Signs everything up to the comment size of a finished zip without comment. Gives the size of the comment. */
async function signWholeFile(
  output: SignedOutput,
  size: number,
  endOffset: number,
  signer: PackageSigner,
  options: Pick<SignOptions, "progress" | "cancel">,
): Promise<number> {
  const signed = size - 2;
  const reader: RandomReader = { size, read: (offset, length) => output.read(offset, length) };
  const message = async function* (): ByteStream {
    let doneBytes = 0;
    for await (const chunk of streamRange(reader, 0, signed)) {
      checkCancel(options.cancel);
      doneBytes += chunk.length;
      options.progress.progress({ phase: "sign", doneBytes, totalBytes: signed });
      yield chunk;
    }
  };
  const comment = encodeSignatureComment(encodeSignatureBlock(signer, await signer.sign(message())));
  await setZipComment(output, endOffset, comment);
  return comment.length;
}

/**
 * Signs an existing archive.
 * @throws OtaError ANDROID_ALREADY_SIGNED when it has a comment and `replace` is not set
 */
export async function signArchive(
  zip: ZipArchive,
  output: SignedOutput,
  signer: PackageSigner,
  options: SignOptions & { readonly replace?: boolean },
): Promise<number> {
  if (zip.comment.length > 0 && options.replace !== true) {
    throw new OtaError("ANDROID_ALREADY_SIGNED", {
      what: "the package has an archive comment already",
      hint: "Sign the unsigned package, or ask for the signature to be replaced.",
    });
  }
  const plan = createPlan();
  for (const entry of zip.entries) plan.add(archiveEntry(zip, entry, entry.name, true));
  return signPlan(plan, output, signer, options);
}
