/** Who signs: a port. `keys.node.ts` has signers over key files and over a command of the user's own. */
import type { ByteStream } from "../../core/ports.ts";

export type SignatureHash = "sha1" | "sha256";

export interface PackageSigner {
  /** X.509 certificate, DER. */
  readonly certificate: Uint8Array;
  /** The certificate as it goes into the package (META-INF/com/android/otacert): the PEM file byte for byte. */
  readonly otacert: Uint8Array;
  readonly keyType: "rsa" | "ec";
  /** Follows the certificate's own signature: recovery takes it from there. */
  readonly hash: SignatureHash;
  /** Most bytes of a signature: the RSA modulus, or the longest DER of an ECDSA signature. */
  readonly signatureSize: number;
  /**
   * RSA PKCS#1 v1.5 block, or an ECDSA signature as DER. `hash`: another one than {@link PackageSigner.hash}; payloads are
   * signed with SHA-256 whatever the certificate says. @throws OtaError ANDROID_SIGNER
   */
  sign(message: ByteStream, hash?: SignatureHash): Promise<Uint8Array>;
}

/** Who signs a payload: the package's signer, or somebody else. */
export type PayloadSigner = Pick<PackageSigner, "sign" | "signatureSize">;
