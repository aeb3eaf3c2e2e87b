/**
 * The parts of a whole-file signature that no key covers: the structure around the signature value and the certificate in it.
 *
 * Recovery ignores them, and nothing of them is used here either. But a signer writes the same structure a second time, around the
 * signature of the archive's JAR part, and that one lies inside the signed bytes (formats/android.md section 5.1): all fields but
 * the signature value must be the same in both. So no byte of a signed package can be changed unnoticed. Measured on the recorded
 * packages of the original signers, SHA-1 and SHA-256, RSA and EC: equal in all nine. Later signers leave the JAR part out; what
 * they write follows from the certificate, which lies inside the signed bytes as well.
 */
import { concatBytes, equalBytes } from "../../core/bytes.ts";
import type { Codecs, RandomReader } from "../../core/ports.ts";
import { printable } from "../../core/text.ts";
import { openZip } from "../../core/zip/index.ts";
import type { ZipEntry } from "../../core/zip/entry.ts";
import type { ZipArchive } from "../../core/zip/read.ts";
import { JAR_BLOCK, OTACERT_NAME } from "../signature-entries.ts";
import { DER, DerCursor } from "./der.ts";
import { certificateOf } from "./keys.ts";
import { expectedFields } from "./otacert-block.ts";
import type { SigningKind } from "./otacert-block.ts";

/** Context tag 0, constructed: the content of a ContentInfo, and the certificates of a SignedData. */
const TAGGED = 0xa0;
/** Largest block of a JAR part, bytes; an archive's comment, which holds the other one, has 64 KiB at most. */
const MAX_BLOCK = 1 << 20;

/** Fields of a block besides the signature value, in their order (RFC 5652 sections 3, 5.1 and 5.3). */
const FIELDS = [
  "content type",
  "version",
  "digest algorithms",
  "encapsulated content",
  "certificate",
  "signer's version",
  "signer's name",
  "signer's digest algorithm",
  "signature algorithm",
] as const;

interface SignedBlock {
  /** By {@link FIELDS}, each with tag and length. */
  readonly fields: readonly Uint8Array[];
  readonly signature: Uint8Array;
}

function item(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = concatBytes(...parts);
  const size = content.length;
  if (size < 0x80) return concatBytes(Uint8Array.of(tag, size), content);
  const digits: number[] = [];
  for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return concatBytes(Uint8Array.of(tag, 0x80 + digits.length, ...digits), content);
}

function encode({ fields, signature }: SignedBlock): Uint8Array {
  const [type, ...others] = fields as [Uint8Array, ...Uint8Array[]];
  const signer = item(DER.sequence, ...others.slice(4), item(DER.octetString, signature));
  const signedData = item(DER.sequence, ...others.slice(0, 4), item(DER.set, signer));
  return item(DER.sequence, type, item(TAGGED, signedData));
}

/** A block as sign tools write it: DER, one signer, no attributes. Undefined for any other bytes. */
export function readSignedBlock(der: Uint8Array): SignedBlock | undefined {
  const outer = new DerCursor(der).enter(DER.sequence);
  const type = outer?.next(DER.oid);
  const data = outer?.enter(TAGGED)?.enter(DER.sequence);
  const head = [DER.integer, DER.set, DER.sequence, TAGGED].map((tag) => data?.next(tag));
  const signer = data?.enter(DER.set)?.enter(DER.sequence);
  const info = [DER.integer, DER.sequence, DER.sequence, DER.sequence].map((tag) => signer?.next(tag));
  const signature = signer?.next(DER.octetString)?.content;
  const fields = [type, ...head, ...info].flatMap((field) => (field === undefined ? [] : [field.whole]));
  if (signature === undefined || fields.length !== FIELDS.length) return undefined;
  // Lengths with more bytes than needed, and anything behind the parts, would not come out again.
  const block = { fields, signature };
  return equalBytes(encode(block), der) ? block : undefined;
}

/** Compares `block` with the structures of the JAR part; undefined when one of them is the same. */
async function jarProblem(
  zip: ZipArchive,
  entries: readonly ZipEntry[],
  block: SignedBlock,
): Promise<string | undefined> {
  let differing: string | undefined;
  for (const entry of entries) {
    const signed = readSignedBlock(await zip.read(entry, MAX_BLOCK));
    const at = FIELDS.findIndex(
      (_, i) => !equalBytes(signed?.fields[i] ?? new Uint8Array(0), block.fields[i] as Uint8Array),
    );
    if (at < 0) return undefined;
    differing ??= `the ${FIELDS[at] as string} beside the signature is not the one of ${printable(entry.name)}`;
  }
  return differing;
}

/** Compares `block` with the one that the signer with the certificate in `entry` writes; undefined when they are the same. */
async function otacertProblem(
  zip: ZipArchive,
  entry: ZipEntry,
  block: SignedBlock,
  kind: SigningKind,
): Promise<string | undefined> {
  const certificate = certificateOf(await zip.read(entry, MAX_BLOCK));
  const expected = certificate === undefined ? undefined : expectedFields(certificate, kind);
  if (expected === undefined) return `${OTACERT_NAME} is no certificate`;
  const at = expected.findIndex((matches, i) => !matches(block.fields[i] as Uint8Array));
  return at < 0 ? undefined : `the ${FIELDS[at] as string} beside the signature is not that of ${OTACERT_NAME}`;
}

/**
 * Why the structure of a whole-file signature is not what its signer wrote; undefined when it is. `der`: the block of the comment;
 * the signature must have been verified, with a key and a hash of `kind`, so that what the archive holds is the signer's word.
 * @throws OtaError ZIP_*, CODEC_* when the signed bytes are no archive with one reading, and what `reader` throws
 */
export async function blockProblem(
  reader: RandomReader,
  der: Uint8Array,
  kind: SigningKind,
  codecs: Pick<Codecs, "inflateRaw">,
): Promise<string | undefined> {
  const block = readSignedBlock(der);
  if (block === undefined) return "the structure around the signature is not the one that sign tools write";
  const zip = await openZip(reader, { codecs });
  const blocks = zip.entries.filter((entry) => JAR_BLOCK.test(entry.name));
  if (blocks.length > 0) return jarProblem(zip, blocks, block);
  const otacert = zip.entries.find((entry) => entry.name === OTACERT_NAME);
  if (otacert !== undefined) return otacertProblem(zip, otacert, block, kind);
  return `nothing in the archive vouches for the certificate beside the signature: it has neither META-INF/CERT.RSA nor ${OTACERT_NAME}, one of which sign tools write`;
}
