/**
 * The signature footer of a whole-file signed package, formats/android.md sections 5.1 and 5.3.
 *
 * Reasons are worded as recovery 7.1 logs them; 4.4 logs less and looks at less.
 */
import { equalBytes, readU16 } from "../../core/bytes.ts";
import type { RandomReader } from "../../core/ports.ts";
import { encodeText } from "../../core/text.ts";
import { DER, DerCursor } from "./der.ts";

/** Which verifier's rules: the bare ones of a release, or ours: 7.1, agreement of both views of the zip, and not a byte that is not vouched for. */
export type VerifierRules = "4.4" | "7.1" | "safe";

export const FOOTER_SIZE = 6;
export const EOCD_SIZE = 22;

export interface SignatureFooter {
  /** Bytes from 0 that are signed. */
  readonly signedSize: number;
  /** Of the end record. */
  readonly endOffset: number;
  /** Signature value: of the DER structure, or for 4.4 the 256 bytes before the footer. */
  readonly signature: Uint8Array;
  /** The DER structure; empty for 4.4, which does not look at it. */
  readonly block: Uint8Array;
}

/** `unsigned`: nothing that looks like a footer. */
export type FooterResult =
  SignatureFooter | { readonly reason: string; readonly unsigned?: boolean; readonly offset?: number };

/** Value of the first signer in a CMS SignedData (RFC 5652 section 5.1), as recovery 7.1 walks it. */
export function signatureValue(der: Uint8Array, exact: boolean): Uint8Array | undefined {
  const outer = new DerCursor(der);
  const content = outer.enter(DER.sequence);
  if (content?.next() === undefined) return undefined;
  const tagged = content.next();
  if (tagged === undefined || (tagged.tag & 0xe0) !== 0xa0) return undefined;
  const signedData = new DerCursor(tagged.content).enter(DER.sequence);
  // version, digest algorithms, content
  for (let i = 0; i < 3; i++) if (signedData?.next() === undefined) return undefined;
  // certificates and revocation lists
  while (((signedData?.tag ?? 0) & 0xe0) === 0xa0) if (signedData?.next() === undefined) return undefined;
  const signer = signedData?.enter(DER.set)?.enter(DER.sequence);
  // version, identity, digest algorithm, signature algorithm
  for (let i = 0; i < 4; i++) if (signer?.next() === undefined) return undefined;
  const value = signer?.next(DER.octetString)?.content;
  return exact && !outer.atEnd ? undefined : value;
}

/** What sign tools write before the structure. */
const MESSAGE = encodeText("signed by SignApk\0");

function hasMarker(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0x50 && bytes[at + 1] === 0x4b && bytes[at + 2] === 5 && bytes[at + 3] === 6;
}

/** Reads and checks the end of a package; nothing of the signature is verified yet. */
export async function readFooter(reader: RandomReader, rules: VerifierRules): Promise<FooterResult> {
  const { size } = reader;
  if (size < FOOTER_SIZE) return { reason: "not big enough to contain footer", unsigned: true };
  const footer = await reader.read(size - FOOTER_SIZE, FOOTER_SIZE);
  if (footer[2] !== 0xff || footer[3] !== 0xff) {
    return { reason: "footer is wrong", unsigned: true, offset: size - FOOTER_SIZE };
  }
  const total = readU16(footer, 4);
  const start = readU16(footer, 0);
  const offset = size - FOOTER_SIZE;
  if (rules === "4.4") {
    // Unsigned arithmetic there: a start inside the footer passes.
    if (start >= FOOTER_SIZE && start - FOOTER_SIZE < 256) return { reason: "signature is too short", offset };
  } else {
    if (start > total) return { reason: `signature start: ${start} is larger than comment size: ${total}`, offset };
    if (start <= FOOTER_SIZE) return { reason: "Signature start is in the footer", offset };
  }
  const tailSize = total + EOCD_SIZE;
  if (size < tailSize) return { reason: "not big enough to contain EOCD", offset };
  const endOffset = size - tailSize;
  const tail = await reader.read(endOffset, tailSize);
  if (!hasMarker(tail, 0)) return { reason: "signature length doesn't match EOCD marker", offset: endOffset };
  for (let i = 4; i < tailSize - 3; i++) {
    if (hasMarker(tail, i)) return { reason: "EOCD marker occurs after start of EOCD", offset: endOffset + i };
  }
  const signedSize = endOffset + EOCD_SIZE - 2;
  if (rules === "4.4") {
    if (tailSize < FOOTER_SIZE + 256) return { reason: "signature is too short", offset };
    const signature = tail.slice(tailSize - FOOTER_SIZE - 256, tailSize - FOOTER_SIZE);
    return { signedSize, endOffset, signature, block: new Uint8Array(0) };
  }
  if (rules === "safe" && readU16(tail, EOCD_SIZE - 2) !== total) {
    return {
      reason: `the end record says that its comment has ${readU16(tail, EOCD_SIZE - 2)} bytes, the footer says ${total}`,
      offset: endOffset + EOCD_SIZE - 2,
    };
  }
  if (rules === "safe" && !equalBytes(tail.subarray(EOCD_SIZE, tailSize - start), MESSAGE)) {
    return { reason: 'the text before the signature is not "signed by SignApk"', offset: endOffset + EOCD_SIZE };
  }
  const block = tail.slice(tailSize - start, tailSize - FOOTER_SIZE);
  const signature = signatureValue(block, rules === "safe");
  if (signature === undefined) return { reason: "Could not find signature DER block", offset: size - start };
  return { signedSize, endOffset, signature, block };
}
