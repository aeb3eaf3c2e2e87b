/** Whole-file signature verification as recovery does it. */
export { EOCD_SIZE, FOOTER_SIZE, readFooter, signatureValue } from "./footer.ts";
export type { FooterResult, SignatureFooter, VerifierRules } from "./footer.ts";
export { certificateOf, MAX_KEY_BYTES, parseResKeys, readKeys } from "./keys.ts";
export type { VerifierKey } from "./keys.ts";
export type { SignatureHash } from "./rsa.ts";
export * from "./verify.ts";
export { guardReader } from "./guarded-reader.ts";
export { isPublicTestKey } from "./test-keys.ts";
