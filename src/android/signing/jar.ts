/** The JAR part of a signed package: manifest and signature file (formats/android.md 5.1). Recovery never reads it. */
import { concatBytes } from "../../core/bytes.ts";
import type { Digests } from "../../core/ports.ts";
import { encodeText } from "../../core/text.ts";
import type { SignatureHash } from "./signer.ts";

const CREATED_BY = "1.0 (Android SignApk)";
/** Bytes of a line, its CR LF included; longer ones go on behind a blank. */
const LINE = 72;

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

export function toBase64(bytes: Uint8Array): string {
  let out = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const [a = 0, b, c] = bytes.subarray(i, i + 3);
    out += BASE64.charAt(a >>> 2) + BASE64.charAt(((a & 3) << 4) | ((b ?? 0) >>> 4));
    out += b === undefined ? "=" : BASE64.charAt(((b & 15) << 2) | ((c ?? 0) >>> 6));
    out += c === undefined ? "=" : BASE64.charAt(c & 63);
  }
  return out;
}

/** One attribute line, wrapped. */
function attribute(name: string, value: string): Uint8Array {
  const line = encodeText(`${name}: ${value}`);
  const crlf = new Uint8Array([13, 10]);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < line.length || at === 0;) {
    const room = LINE - 2 - (at === 0 ? 0 : 1);
    if (at > 0) parts.push(new Uint8Array([32]));
    parts.push(line.subarray(at, at + room), crlf);
    at += room;
  }
  return concatBytes(...parts);
}

function section(...attributes: readonly Uint8Array[]): Uint8Array {
  return concatBytes(...attributes, new Uint8Array([13, 10]));
}

export interface ManifestEntry {
  readonly name: string;
  /** Digest of the content. */
  readonly digest: Uint8Array;
}

/** META-INF/MANIFEST.MF and META-INF/CERT.SF. */
export function encodeJarTexts(
  entries: readonly ManifestEntry[],
  hash: SignatureHash,
  options: { readonly digests: Pick<Digests, "create">; readonly vendor: boolean },
): { readonly manifest: Uint8Array; readonly signatureFile: Uint8Array } {
  const digestOf = (bytes: Uint8Array): string => {
    const digest = options.digests.create(hash);
    digest.update(bytes);
    return toBase64(digest.digest());
  };
  const label = hash === "sha1" ? "SHA1-Digest" : "SHA-256-Digest";
  const sections = entries.map((e) => section(attribute("Name", e.name), attribute(label, toBase64(e.digest))));
  const head = section(attribute("Manifest-Version", "1.0"), attribute("Created-By", CREATED_BY));
  const manifest = joinAll([head, ...sections]);
  // The original writes the entry digests of SHA-1 under the whole manifest's name, which no verifier looks for.
  const entryLabel = options.vendor && hash === "sha1" ? "SHA1-Digest-Manifest" : label;
  const signatureHead = section(
    attribute("Signature-Version", "1.0"),
    attribute("Created-By", CREATED_BY),
    attribute(`${label}-Manifest`, digestOf(manifest)),
  );
  const signatureSections = entries.map((e, i) =>
    section(attribute("Name", e.name), attribute(entryLabel, digestOf(sections[i] as Uint8Array))),
  );
  const signatureFile = joinAll([signatureHead, ...signatureSections]);
  // Old Java readers lose the last section of a file whose size is a multiple of 1024.
  const pad = signatureFile.length % 1024 === 0 ? [13, 10] : [];
  return { manifest, signatureFile: concatBytes(signatureFile, new Uint8Array(pad)) };
}

/** Joins without spreading: a package may have a hundred thousand entries. */
function joinAll(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
