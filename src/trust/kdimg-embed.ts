/**
 * A signature inside a kdimg: in the 360 reserved bytes of its header, which every reader ignores as long as the header's CRC
 * fits (`formats/k230.md` section 1.1), and, where they fit, the block digests in the unused bytes between part table and
 * 64 KiB, which no reader looks at (contents are found by their offsets).
 *
 * 360 bytes have no room for the manifest's text, so its facts stand there in a short form. The text that is signed is made of
 * them again, word for word the one a detached manifest has, and so the same check serves both. Coverage
 * `kdimg-without-reserved`: the digests are over the image as it was before, which can be had back exactly.
 */
import { concatBytes, fromHex, isAllByte, readU16, readU32, toHex, writeU16, writeU32 } from "../core/bytes.ts";
import { crc32 } from "../core/checksums.ts";
import { editedReader, type Edit } from "../core/edits.ts";
import { OtaError } from "../core/errors.ts";
import { layout, raw, u32, u64, u8 } from "../core/layout.ts";
import type { ByteStream, RandomReader } from "../core/ports.ts";
import { streamRange } from "../core/streams.ts";
import { decodeText, encodeText } from "../core/text.ts";
import type { Envelope, EnvelopeSignature } from "./envelope.ts";
import { encodeManifest, MANIFEST_TYPE, type Manifest } from "./manifest.ts";
import { isOrdered } from "./version.ts";

/** The container's facts that matter here: header, CRC, table and where contents begin (`formats/k230.md` section 1). */
const HEADER_SIZE = 512;
const CRC_AT = 4;
const VERSION_AT = 12;
const PART_COUNT_AT = 16;
const RESERVED_AT = 152;
const ENTRY_SIZE = 256;
const CONTENT_START = 0x10000;
const KDIMG_MAGIC = 0x27cb8f93;

/** The short form of a manifest and its signatures. */
export const KDIMG_SEAL = layout("signature in the reserved bytes of a kdimg header", 360, {
  magic: u32(0, { meaning: '"OFSG"', hex: true }),
  form: u8(4, { meaning: "1" }),
  flags: u8(5, { meaning: "bit 0: the block digests stand behind the part table", hex: true }),
  blockShift: u8(6, { meaning: "a block has 2^n bytes" }),
  unused: u8(7, { meaning: "0" }),
  size: u64(8, { meaning: "size of the image", unit: "bytes" }),
  sha256: raw(16, 32, { meaning: "SHA-256 of the image without its signature" }),
  body: raw(48, 312, {
    meaning:
      "version, base version (empty: none), count of hardware names, these; each text a length byte and its bytes. " +
      "Count of signatures; of each the key's id (32), the length (u16) and the signature. The rest is zero",
  }),
});

const SEAL_MAGIC = 0x4753464f;
const BLOCKS_INSIDE = 1;
const BODY_SIZE = KDIMG_SEAL.fields.body.size;

/** What stands in the reserved bytes. */
export interface KdimgSeal {
  readonly facts: Pick<Manifest, "hardware" | "version" | "baseVersion" | "package" | "blockSize">;
  readonly signatures: readonly EnvelopeSignature[];
  /** SHA-256 of every block; absent when they had no room: only who reads the whole image can make them again. */
  readonly blocks?: Uint8Array;
  /** From the file to the image that was signed. */
  readonly edits: readonly Edit[];
}

function malformed(where: string): OtaError {
  return new OtaError("TRUST_MANIFEST", { what: "the signature in the kdimg header is malformed", where });
}

function bareHeader(header: Uint8Array): Uint8Array {
  const bare = concatBytes(header);
  bare.fill(0, RESERVED_AT, HEADER_SIZE);
  writeU32(bare, CRC_AT, 0);
  writeU32(bare, CRC_AT, crc32(bare));
  return bare;
}

function encodeBody(manifest: Manifest, signatures: readonly EnvelopeSignature[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const add = (text: string): void => {
    const bytes = encodeText(text);
    if (bytes.length > 255) throw noRoom(`a text of ${bytes.length} bytes`);
    parts.push(Uint8Array.of(bytes.length), bytes);
  };
  add(manifest.version);
  add(manifest.baseVersion ?? "");
  parts.push(Uint8Array.of(manifest.hardware.length));
  manifest.hardware.forEach(add);
  parts.push(Uint8Array.of(signatures.length));
  for (const { keyId, signature } of signatures) {
    const size = new Uint8Array(2);
    writeU16(size, 0, signature.length);
    parts.push(fromHex(keyId) as Uint8Array, size, signature);
  }
  const body = concatBytes(...parts);
  if (body.length > BODY_SIZE) throw noRoom(`${body.length} bytes`);
  return concatBytes(body, new Uint8Array(BODY_SIZE - body.length));
}

function noRoom(found: string): OtaError {
  return new OtaError("TRUST_NO_ROOM", {
    what: "the signature does not fit into the reserved bytes of a kdimg header",
    expected: `versions, hardware names and signatures in ${BODY_SIZE} bytes`,
    found,
    hint: "Use Ed25519 or P-256 keys, or sign with a detached manifest (the default).",
  });
}

/** Reads a body; every byte must be accounted for. @throws OtaError TRUST_MANIFEST */
function decodeBody(
  body: Uint8Array,
): Pick<KdimgSeal, "signatures"> & Pick<Manifest, "hardware" | "version"> & { baseVersion: string } {
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (at + length > body.length) throw malformed("reserved bytes end early");
    at += length;
    return body.subarray(at - length, at);
  };
  const count = (): number => take(1)[0] as number;
  const text = (): string => decodeText(take(count()));
  const version = text();
  const baseVersion = text();
  const hardware = Array.from({ length: count() }, text);
  const signatures = Array.from({ length: count() }, () => {
    const keyId = toHex(take(32));
    return { keyId, signature: concatBytes(take(readU16(take(2), 0))) };
  });
  if (signatures.some(({ keyId }, i) => i > 0 && keyId <= (signatures[i - 1] as EnvelopeSignature).keyId)) {
    throw malformed("signatures repeat or are out of order");
  }
  if (!isAllByte(body.subarray(at), 0)) throw malformed("bytes behind the signatures");
  if (!isOrdered(version) || (baseVersion !== "" && !isOrdered(baseVersion))) throw malformed("version");
  return { version, baseVersion, hardware, signatures };
}

/** Bytes of a kdimg's header that its signature needs. */
export const KDIMG_SEAL_HEAD = HEADER_SIZE;

/**
 * The signature in an image's header; undefined when there is none. `begin` holds the image's first bytes: up to 64 KiB, less
 * only when the image is smaller. @throws OtaError TRUST_MANIFEST for a damaged one
 */
export function readKdimgSeal(begin: Uint8Array): KdimgSeal | undefined {
  if (begin.length < HEADER_SIZE || readU32(begin, 0) !== KDIMG_MAGIC) return undefined;
  const seal = KDIMG_SEAL.decode(begin, RESERVED_AT);
  if (seal.magic !== SEAL_MAGIC) return undefined;
  if (seal.form !== 1 || seal.unused !== 0 || (seal.flags | BLOCKS_INSIDE) !== BLOCKS_INSIDE)
    throw malformed("form or flags");
  if (seal.blockShift < 16 || seal.blockShift > 40) throw malformed("block size");
  const header = begin.subarray(0, HEADER_SIZE);
  const bare = bareHeader(header);
  const sealed = concatBytes(header);
  writeU32(sealed, CRC_AT, 0);
  // A header whose CRC does not fit is for no reader; telling it here keeps every byte of the file under the signature.
  if (crc32(sealed) !== readU32(header, CRC_AT)) throw malformed("header CRC");
  const { signatures, hardware, version, baseVersion } = decodeBody(seal.body);
  const blockSize = 2 ** seal.blockShift;
  const edits: Edit[] = [
    { offset: CRC_AT, length: 4, bytes: bare.subarray(CRC_AT, CRC_AT + 4) },
    { offset: RESERVED_AT, length: HEADER_SIZE - RESERVED_AT, bytes: bare.subarray(RESERVED_AT) },
  ];
  let blocks: Uint8Array | undefined;
  if (seal.flags === BLOCKS_INSIDE) {
    const offset = HEADER_SIZE + readU32(header, PART_COUNT_AT) * ENTRY_SIZE;
    const length = Math.ceil(seal.size / blockSize) * 32;
    if (offset + length > Math.min(begin.length, CONTENT_START)) throw malformed("block digests");
    blocks = concatBytes(begin.subarray(offset, offset + length));
    edits.push({ offset, length, bytes: new Uint8Array(length) });
  }
  const facts = {
    hardware,
    version,
    ...(baseVersion === "" ? {} : { baseVersion }),
    package: { size: seal.size, sha256: toHex(seal.sha256) },
    blockSize,
  };
  return { facts, signatures, edits, ...(blocks === undefined ? {} : { blocks }) };
}

/** The envelope that was signed: its text is made of the seal and the block digests. */
export function envelopeOfSeal({ facts, signatures }: KdimgSeal, blocks: Uint8Array): Envelope {
  const manifest: Manifest = {
    family: "k230",
    ...facts,
    coverage: "kdimg-without-reserved",
    blocks,
    items: [],
    signers: signatures.map((s) => s.keyId),
  };
  return { payloadType: MANIFEST_TYPE, payload: encodeManifest(manifest), signatures };
}

/** Where block digests can stand and how many bytes there are: zero bytes between part table and contents. */
async function findGap(bare: RandomReader): Promise<{ readonly offset: number; readonly size: number }> {
  const begin = await bare.read(0, Math.min(bare.size, CONTENT_START));
  const count = readU32(begin, PART_COUNT_AT);
  const offset = HEADER_SIZE + count * ENTRY_SIZE;
  if (offset >= begin.length) return { offset, size: 0 };
  let end = begin.length;
  const contentAt = readU32(begin, VERSION_AT) >= 2 ? 32 : 24;
  for (let i = 0; i < count; i++) end = Math.min(end, readU32(begin, HEADER_SIZE + i * ENTRY_SIZE + contentAt));
  let size = 0;
  while (offset + size < end && begin[offset + size] === 0) size++;
  return { offset, size };
}

/** How many block digests have room inside an image without a signature; 0: none, then only its reader can make them. */
export async function kdimgBlockRoom(bare: RandomReader): Promise<number> {
  return bare.size < HEADER_SIZE ? 0 : Math.floor((await findGap(bare)).size / 32);
}

/**
 * The image `bare` with a signature in it. `manifest` has coverage `kdimg-without-reserved` and is what `signatures` sign.
 * @throws OtaError TRUST_NO_ROOM when the header's reserved bytes are in use or too few
 */
export async function embedInKdimg(
  bare: RandomReader,
  manifest: Manifest,
  signatures: readonly EnvelopeSignature[],
): Promise<ByteStream> {
  const header = bare.size < HEADER_SIZE ? new Uint8Array(HEADER_SIZE) : await bare.read(0, HEADER_SIZE);
  if (readU32(header, 0) !== KDIMG_MAGIC || !isAllByte(header.subarray(RESERVED_AT), 0)) {
    throw new OtaError("TRUST_NO_ROOM", "only a kdimg whose reserved header bytes are zero can carry a signature");
  }
  const gap = await findGap(bare);
  const inside = manifest.blocks.length <= gap.size;
  const sealed = concatBytes(header);
  sealed.set(
    KDIMG_SEAL.encode({
      magic: SEAL_MAGIC,
      form: 1,
      flags: inside ? BLOCKS_INSIDE : 0,
      blockShift: Math.log2(manifest.blockSize),
      unused: 0,
      size: manifest.package.size,
      sha256: fromHex(manifest.package.sha256) as Uint8Array,
      body: encodeBody(manifest, signatures),
    }),
    RESERVED_AT,
  );
  writeU32(sealed, CRC_AT, 0);
  writeU32(sealed, CRC_AT, crc32(sealed));
  const edits: Edit[] = [{ offset: 0, length: HEADER_SIZE, bytes: sealed }];
  if (inside) edits.push({ offset: gap.offset, length: manifest.blocks.length, bytes: manifest.blocks });
  return streamRange(editedReader(bare, edits));
}
