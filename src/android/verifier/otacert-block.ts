/**
 * The structure around a signature, derived from the certificate of the signer: for packages of sign tools that write no JAR part
 * (Android 8 and later), whose archive holds the certificate only, as META-INF/com/android/otacert.
 *
 * All fields but the certificate have one value for a kind of key and a hash, or follow from the certificate, so that not one byte
 * of them is free (RFC 5652 sections 5.1 to 5.3, RFC 3370 section 3.2, RFC 5754 sections 2 and 3).
 */
import { equalBytes, fromHex } from "../../core/bytes.ts";
import { DER, DerCursor } from "./der.ts";
import type { SignatureHash } from "./rsa.ts";

/** What signed, as far as the structure names it. */
export interface SigningKind {
  readonly keyType: "rsa" | "ec";
  readonly hash: SignatureHash;
}

const bytes = (hex: string): Uint8Array => fromHex(hex) as Uint8Array;

const CONTENT_TYPE = bytes("06092a864886f70d010702"); // signedData
const VERSION = bytes("020101");
const CONTENT = bytes("300b06092a864886f70d010701"); // data, detached
/** Digest algorithms; both ways of saying that there are no parameters are in use. */
const DIGESTS: Readonly<Record<SignatureHash, readonly Uint8Array[]>> = {
  sha1: ["300906052b0e03021a0500", "300706052b0e03021a"].map(bytes),
  sha256: ["300b0609608648016503040201", "300d06096086480165030402010500"].map(bytes),
};
/** Signature algorithms as sign tools name them: SHA-1 with RSA by the key's algorithm alone. */
const SIGNATURES: Readonly<Record<SigningKind["keyType"], Readonly<Record<SignatureHash, Uint8Array>>>> = {
  rsa: { sha1: bytes("300d06092a864886f70d0101010500"), sha256: bytes("300d06092a864886f70d01010b0500") },
  ec: { sha1: bytes("300906072a8648ce3d0401"), sha256: bytes("300a06082a8648ce3d040302") },
};

/** Content of issuer and serial number, which together name a certificate; undefined when it is none. */
function signerName(certificate: Uint8Array): readonly [issuer: Uint8Array, serial: Uint8Array] | undefined {
  const body = new DerCursor(certificate).enter(DER.sequence)?.enter(DER.sequence);
  if (body?.tag === 0xa0) body.next(); // the version
  const serial = body?.next(DER.integer);
  body?.next(DER.sequence); // signature algorithm
  const issuer = body?.next(DER.sequence);
  return serial === undefined || issuer === undefined ? undefined : [issuer.whole, serial.whole];
}

const only = (wanted: Uint8Array) => (found: Uint8Array) => equalBytes(found, wanted);
const insideOf = (der: Uint8Array, tag: number): Uint8Array | undefined => new DerCursor(der).next(tag)?.content;

/**
 * What each field of a block must be, in the order of its fields; undefined when `certificate` (DER) is none.
 * @throws never
 */
export function expectedFields(
  certificate: Uint8Array,
  { keyType, hash }: SigningKind,
): readonly ((field: Uint8Array) => boolean)[] | undefined {
  const name = signerName(certificate);
  if (name === undefined) return undefined;
  const [issuer, serial] = name;
  const isDigest = (der: Uint8Array | undefined): boolean =>
    der !== undefined && DIGESTS[hash].some((wanted) => equalBytes(wanted, der));
  return [
    only(CONTENT_TYPE),
    only(VERSION),
    (field) => isDigest(insideOf(field, DER.set)),
    only(CONTENT),
    (field) => equalBytes(insideOf(field, 0xa0) ?? new Uint8Array(0), certificate),
    only(VERSION),
    (field) => {
      const found = new DerCursor(field).enter(DER.sequence);
      const parts = [found?.next(DER.sequence)?.whole, found?.next(DER.integer)?.whole];
      return [issuer, serial].every((part, i) => equalBytes(part, parts[i] ?? new Uint8Array(0)));
    },
    isDigest,
    only(SIGNATURES[keyType][hash]),
  ];
}
