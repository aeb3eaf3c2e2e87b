/** Keys as values, and what the platform's cryptography must provide. */

/** What a signature is made with. RSA: PKCS#1 v1.5 with SHA-256; P-256: ECDSA with SHA-256, 64 bytes r and s. */
export type SignatureAlgorithm = "ed25519" | "ecdsa-p256" | "rsa";

export interface PublicKey {
  readonly algorithm: SignatureAlgorithm;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** SHA-256 of `spki`, lower-case hex: how keys are named everywhere. */
  readonly id: string;
  /** Where it came from, for messages. */
  readonly source: string;
}

/** Checks signatures. Never throws for a signature that is merely wrong or malformed. */
export interface SignatureChecker {
  check(key: PublicKey, message: Uint8Array, signature: Uint8Array): Promise<boolean>;
}

/** Makes signatures: a key file, or a command that keeps the key elsewhere. */
export interface Signer {
  readonly key: PublicKey;
  /** @throws OtaError TRUST_SIGNER_FAILED */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** Bytes of a signature where the algorithm fixes them. */
export const SIGNATURE_SIZE: Readonly<Record<SignatureAlgorithm, number | undefined>> = Object.freeze({
  ed25519: 64,
  "ecdsa-p256": 64,
  rsa: undefined,
});
