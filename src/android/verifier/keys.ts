/**
 * Keys a recovery trusts, in all the forms they come in (formats/android.md section 5.2): `res/keys` text, PEM or DER
 * certificates, PEM public keys, `otacerts.zip`.
 */
import { OtaError } from "../../core/errors.ts";
import type { Codecs } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import { openZip } from "../../core/zip/index.ts";
import { fromLatin1 } from "../latin1.ts";
import { DER, DerCursor, oidText, toInteger } from "./der.ts";
import { isOnP256 } from "./p256.ts";
import type { EcPoint } from "./p256.ts";
import { rsaSize } from "./rsa.ts";
import type { RsaKey, SignatureHash } from "./rsa.ts";

/** A trusted key. `hashes`: what it signs; a key of another hash never matches. */
export type VerifierKey = {
  readonly hashes: readonly SignatureHash[];
  /** Where it came from, for messages. */
  readonly source: string;
} & ({ readonly type: "rsa"; readonly rsa: RsaKey } | { readonly type: "ec"; readonly point: EcPoint });

function unreadable(what: string, where?: string): OtaError {
  return new OtaError("KEYS_UNREADABLE", {
    what,
    ...(where === undefined ? {} : { where }),
    hint: "Give a PEM certificate or public key, a res/keys file or otacerts.zip.",
  });
}

/** Words of a 2048-bit modulus. */
const WORDS = 64;
const VERSIONS: Readonly<Record<number, { readonly exponent: bigint; readonly hash: SignatureHash }>> = {
  1: { exponent: 3n, hash: "sha1" },
  2: { exponent: 65537n, hash: "sha1" },
  3: { exponent: 3n, hash: "sha256" },
  4: { exponent: 65537n, hash: "sha256" },
};

/** Scans the text as the original's `fscanf` formats do: white space is free between all parts. */
class KeyScanner {
  readonly #text: string;
  readonly #name: string;
  #at = 0;

  constructor(text: string, name: string) {
    this.#text = text;
    this.#name = name;
  }

  #damaged(what: string): OtaError {
    return unreadable(`the keys file is damaged: ${what}`, `${this.#name}, character ${this.#at}`);
  }

  blanks(): void {
    while (/\s/.test(this.#text.charAt(this.#at))) this.#at++;
  }

  get atEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  take(literal: string): boolean {
    this.blanks();
    if (!this.#text.startsWith(literal, this.#at)) return false;
    this.#at += literal.length;
    return true;
  }

  expect(literal: string): void {
    if (!this.take(literal)) {
      throw this.#damaged(`expected ${literal}`);
    }
  }

  /** Unsigned 32-bit number: decimal, negative text modulo 2^32, or hex after `0x`. */
  number(): number {
    this.blanks();
    const match = /^(?:0x([0-9a-fA-F]{1,8})|-?\d{1,10})/.exec(this.#text.slice(this.#at, this.#at + 16));
    if (match === null) throw this.#damaged("expected a number");
    this.#at += match[0].length;
    const value = match[1] === undefined ? Number(match[0]) : Number.parseInt(match[1], 16);
    if (value > 0xffffffff || value < -0x80000000) {
      throw this.#damaged("a number is beyond 32 bits");
    }
    return value < 0 ? value + 0x100000000 : value;
  }

  numbers(count: number): number[] {
    const out: number[] = [];
    this.expect("{");
    for (let i = 0; i < count; i++) {
      if (i > 0) this.expect(",");
      out.push(this.number());
    }
    this.expect("}");
    return out;
  }
}

/** Little-endian words or bytes as an integer. */
function littleEndian(digits: readonly number[], bits: bigint): bigint {
  let value = 0n;
  for (let i = digits.length - 1; i >= 0; i--) value = (value << bits) | BigInt(digits[i] as number);
  return value;
}

function readTextKey(scan: KeyScanner, era: "4.4" | "7.1", source: string): VerifierKey {
  let version = 1;
  if (scan.take("v")) version = scan.number();
  scan.expect("{");
  if (version === 5 && era === "7.1") {
    if (scan.number() !== 32) throw unreadable("key of an unknown size", source);
    scan.expect(",");
    const x = scan.numbers(32);
    scan.expect(",");
    const y = scan.numbers(32);
    scan.expect("}");
    if ([...x, ...y].some((b) => b > 255)) throw unreadable("the keys file is damaged: no byte", source);
    return { type: "ec", point: { x: littleEndian(x, 8n), y: littleEndian(y, 8n) }, hashes: ["sha256"], source };
  }
  const kind = VERSIONS[version];
  if (kind === undefined) throw unreadable(`key version v${version} is not known to the verifier of ${era}`, source);
  if (scan.number() !== WORDS) throw unreadable("key of an unknown size: only 2048-bit RSA", source);
  scan.expect(",");
  const inverse = scan.number();
  scan.expect(",");
  const modulus = littleEndian(scan.numbers(WORDS), 32n);
  scan.expect(",");
  const square = littleEndian(scan.numbers(WORDS), 32n);
  scan.expect("}");
  const word = 1n << 32n;
  const good =
    modulus % 2n === 1n && (modulus * BigInt(inverse) + 1n) % word === 0n && (1n << 4096n) % modulus === square;
  // The original computes with both helper numbers; a key whose helpers are wrong verifies nothing there.
  if (!good) throw unreadable("the numbers of a key contradict one another", source);
  return { type: "rsa", rsa: { modulus, exponent: kind.exponent }, hashes: [kind.hash], source };
}

/**
 * Keys of a `res/keys` text. One bad key makes the whole file unusable, as in the original; 4.4 does not know v5.
 * @throws OtaError KEYS_UNREADABLE
 */
export function parseResKeys(text: string, era: "4.4" | "7.1" = "7.1", name = "res/keys"): VerifierKey[] {
  const scan = new KeyScanner(text, name);
  const keys: VerifierKey[] = [];
  do {
    keys.push(readTextKey(scan, era, `${name} key ${keys.length + 1}`));
  } while (scan.take(","));
  scan.blanks();
  if (!scan.atEnd) throw unreadable("stray text behind the last key", name);
  return keys;
}

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

function decodeBase64(text: string): Uint8Array | undefined {
  const plain = text.replace(/[\s=]+/g, "");
  const out = new Uint8Array(Math.floor((plain.length * 3) / 4));
  let bits = 0;
  let value = 0;
  let at = 0;
  for (const c of plain) {
    const v = BASE64.indexOf(c);
    if (v < 0) return undefined;
    value = (value << 6) | v;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = value >>> bits;
      value &= (1 << bits) - 1;
    }
  }
  return out;
}

const OID = {
  rsa: "1.2.840.113549.1.1.1",
  ec: "1.2.840.10045.2.1",
  p256: "1.2.840.10045.3.1.7",
} as const;

/** Hash of a certificate's signature algorithm; MD5 counts as SHA-1, as in the signer. */
const HASH_OF: Readonly<Record<string, SignatureHash>> = {
  "1.2.840.113549.1.1.4": "sha1",
  "1.2.840.113549.1.1.5": "sha1",
  "1.2.840.113549.1.1.11": "sha256",
  "1.2.840.10045.4.1": "sha1",
  "1.2.840.10045.4.3.2": "sha256",
};

/** SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). */
function readPublicKey(info: Uint8Array, hashes: readonly SignatureHash[], source: string): VerifierKey {
  const spki = new DerCursor(info).enter(DER.sequence);
  const algorithm = spki?.enter(DER.sequence);
  const oid = algorithm?.next(DER.oid)?.content;
  const bits = spki?.next(DER.bitString)?.content;
  if (oid === undefined || bits === undefined || bits[0] !== 0) throw unreadable("no public key", source);
  const type = oidText(oid);
  const body = bits.subarray(1);
  if (type === OID.rsa) {
    const pair = new DerCursor(body).enter(DER.sequence);
    const n = pair?.next(DER.integer)?.content;
    const e = pair?.next(DER.integer)?.content;
    if (n === undefined || e === undefined) throw unreadable("no RSA key", source);
    const rsa = { modulus: toInteger(n), exponent: toInteger(e) };
    const size = rsaSize(rsa);
    if ((size !== 256 && size !== 512) || (rsa.exponent !== 3n && rsa.exponent !== 65537n)) {
      throw unreadable("an RSA key no recovery takes: 2048 or 4096 bits with exponent 3 or 65537 are", source);
    }
    return { type: "rsa", rsa, hashes, source };
  }
  const curve = algorithm?.next(DER.oid)?.content;
  if (type !== OID.ec || curve === undefined || oidText(curve) !== OID.p256) {
    throw unreadable("a key of an unknown type: RSA and EC P-256 are known", source);
  }
  if (body.length !== 65 || body[0] !== 4) throw unreadable("an EC key that is not uncompressed", source);
  const point = { x: toInteger(body.subarray(1, 33)), y: toInteger(body.subarray(33)) };
  if (!isOnP256(point)) throw unreadable("an EC key that is no point of P-256", source);
  return { type: "ec", point, hashes: hashes.includes("sha256") ? ["sha256"] : hashes, source };
}

/** Key of an X.509 certificate (RFC 5280 section 4.1). Names and dates are not looked at: recovery has no clock. */
function readCertificate(der: Uint8Array, source: string): VerifierKey {
  const outer = new DerCursor(der).enter(DER.sequence);
  const body = outer?.enter(DER.sequence);
  const oid = outer?.enter(DER.sequence)?.next(DER.oid)?.content;
  if (body === undefined || oid === undefined) throw unreadable("no certificate", source);
  if (body.tag === 0xa0) body.next();
  // serial number, signature algorithm, issuer, validity, subject
  for (let i = 0; i < 5; i++) {
    if (body.next() === undefined) throw unreadable("the certificate is damaged", source);
  }
  const info = body.next(DER.sequence);
  const hash = HASH_OF[oidText(oid)];
  if (info === undefined) throw unreadable("the certificate is damaged", source);
  if (hash === undefined) {
    throw unreadable(`a certificate signed with ${oidText(oid)}: only SHA-1 and SHA-256 are used`, source);
  }
  return readPublicKey(info.whole, [hash], source);
}

const PEM = /-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g;

function readPem(text: string, name: string): VerifierKey[] {
  const keys: VerifierKey[] = [];
  for (const [, label, body] of text.matchAll(PEM)) {
    if (label?.includes("PRIVATE") === true) {
      throw unreadable("a private key was given where a public one belongs", name);
    }
    const der = decodeBase64(body as string);
    if (der === undefined) throw unreadable("the PEM text is damaged", name);
    if (label === "CERTIFICATE") keys.push(readCertificate(der, name));
    // A bare key does not say which hash it signs: both are taken.
    else if (label === "PUBLIC KEY") keys.push(readPublicKey(der, ["sha256", "sha1"], name));
  }
  if (keys.length === 0) throw unreadable("no certificate and no public key in the PEM text", name);
  return keys;
}

/** The first certificate of a PEM or DER file, as DER; undefined when there is none. */
export function certificateOf(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes[0] === DER.sequence) return bytes;
  for (const [, label, body] of fromLatin1(bytes).matchAll(PEM)) {
    if (label === "CERTIFICATE") return decodeBase64(body as string);
  }
  return undefined;
}

/** Largest key file, and largest certificate in otacerts.zip, bytes. */
export const MAX_KEY_BYTES = 4 * 1024 * 1024;

/**
 * Keys of a file of any of the known forms, told from the bytes.
 * @throws OtaError KEYS_UNREADABLE
 */
export async function readKeys(
  bytes: Uint8Array,
  options: { readonly name: string; readonly codecs: Codecs; readonly era?: "4.4" | "7.1" },
): Promise<VerifierKey[]> {
  const { name } = options;
  if (bytes.length > MAX_KEY_BYTES) throw unreadable("the key file is too large", name);
  if (bytes[0] === 0x50 && bytes[1] === 0x4b) {
    const limits = { maxEntries: 1000, maxEntryBytes: MAX_KEY_BYTES, maxTotalBytes: MAX_KEY_BYTES };
    const zip = await openZip(memoryReader(bytes), { codecs: options.codecs, limits });
    const keys: VerifierKey[] = [];
    for (const entry of zip.entries) {
      if (!entry.name.endsWith(".x509.pem")) continue;
      keys.push(...readKeyBytes(await zip.read(entry), `${name}: ${entry.name}`));
    }
    if (keys.length === 0) throw unreadable("no .x509.pem entry in the archive", name);
    return keys;
  }
  const text = fromLatin1(bytes);
  if (/^\s*(v\d+\s*)?\{/.test(text)) return parseResKeys(text, options.era ?? "7.1", name);
  return readKeyBytes(bytes, name);
}

function readKeyBytes(bytes: Uint8Array, name: string): VerifierKey[] {
  const text = fromLatin1(bytes);
  if (text.includes("-----BEGIN ")) return readPem(text, name);
  if (bytes[0] === DER.sequence) {
    // A certificate begins with a sequence in a sequence that begins with a version or a number, a key with an algorithm.
    const inner = new DerCursor(bytes).enter(DER.sequence)?.enter(DER.sequence);
    if (inner?.tag === DER.oid) return [readPublicKey(bytes, ["sha256", "sha1"], name)];
    return [readCertificate(bytes, name)];
  }
  throw unreadable("no key of a known form", name);
}
