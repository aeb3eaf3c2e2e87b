/**
 * Whole-file verification of a package, formats/android.md section 5.3: streaming, bounded memory, one pass.
 */
import type { Cancel, Codecs, Digest, Digests, ProgressSink, RandomReader } from "../../core/ports.ts";
import { checkCancel, readReusing } from "../../core/streams.ts";
import { EOCD_SIZE, readFooter } from "./footer.ts";
import type { VerifierRules } from "./footer.ts";
import type { VerifierKey } from "./keys.ts";
import { verifyP256 } from "./p256.ts";
import { rsaSize, verifyRsa } from "./rsa.ts";
import type { SignatureHash } from "./rsa.ts";
import { blockProblem } from "./signed-block.ts";

/** One read of the streamed part, bytes. */
const CHUNK = 1024 * 1024;

export interface VerifyOptions {
  readonly digests: Pick<Digests, "create">;
  /** For the entry of the archive that the rules `safe` look at. */
  readonly codecs: Pick<Codecs, "inflateRaw">;
  /** Default `safe`. */
  readonly rules?: VerifierRules;
  readonly sink?: ProgressSink;
  readonly cancel?: Cancel;
}

export interface Verdict {
  readonly accepted: boolean;
  /** Nothing at the end of the file looks like a signature. */
  readonly unsigned: boolean;
  /** Key that accepted, and the hash it signed. */
  readonly key?: VerifierKey;
  readonly hash?: SignatureHash;
  /** Why it was rejected, in recovery's words where it has some. */
  readonly reason?: string;
  /** Offset of what is wrong, where it is one place. */
  readonly offset?: number;
}

function matches(key: VerifierKey, hash: SignatureHash, digest: Uint8Array, signature: Uint8Array): boolean {
  if (key.type === "ec") return verifyP256(key.point, digest, signature);
  return verifyRsa(key.rsa, hash, digest, signature);
}

/** The part of a signature value that a key's check looks at: 7.1 takes the first bytes of a longer one. */
function valueFor(key: VerifierKey, signature: Uint8Array, rules: VerifierRules): Uint8Array {
  return key.type === "rsa" && rules === "7.1" ? signature.subarray(0, rsaSize(key.rsa)) : signature;
}

/**
 * Verifies the signature over a whole package. Gives a verdict for any bytes that no trusted key signed; throws only what `reader`
 * throws, and with the rules `safe` what is wrong with signed bytes that are no archive with one reading.
 *
 * @throws OtaError CANCELLED, ZIP_*, CODEC_*, and what reading throws
 */
export async function verifyPackage(
  reader: RandomReader,
  keys: readonly VerifierKey[],
  options: VerifyOptions,
): Promise<Verdict> {
  const rules = options.rules ?? "safe";
  const footer = await readFooter(reader, rules);
  if ("reason" in footer) {
    return {
      accepted: false,
      unsigned: footer.unsigned ?? false,
      reason: footer.reason,
      ...(footer.offset === undefined ? {} : { offset: footer.offset }),
    };
  }
  const wanted = new Set(keys.flatMap((key) => key.hashes));
  const running = new Map<SignatureHash, Digest>();
  for (const hash of ["sha1", "sha256"] as const) if (wanted.has(hash)) running.set(hash, options.digests.create(hash));
  let doneBytes = 0;
  if (running.size > 0) {
    // One buffer for all reads: fresh ones would gather to 60 MiB before they are collected.
    const buffer = new Uint8Array(CHUNK);
    while (doneBytes < footer.signedSize) {
      checkCancel(options.cancel);
      const chunk = await readReusing(reader, doneBytes, Math.min(CHUNK, footer.signedSize - doneBytes), buffer);
      for (const digest of running.values()) digest.update(chunk);
      doneBytes += chunk.length;
      options.sink?.progress({ phase: "verify", doneBytes, totalBytes: footer.signedSize });
    }
  }
  const digests = new Map([...running].map(([hash, digest]) => [hash, digest.digest()]));
  for (const key of keys) {
    for (const hash of key.hashes) {
      const value = valueFor(key, footer.signature, rules);
      if (matches(key, hash, digests.get(hash) as Uint8Array, value)) {
        const kind = { keyType: key.type, hash };
        const problem = rules === "safe" ? await blockProblem(reader, footer.block, kind, options.codecs) : undefined;
        return problem === undefined
          ? { accepted: true, unsigned: false, key, hash }
          : { accepted: false, unsigned: false, reason: problem, offset: footer.endOffset + EOCD_SIZE };
      }
    }
  }
  return { accepted: false, unsigned: false, reason: "failed to verify whole-file signature" };
}
