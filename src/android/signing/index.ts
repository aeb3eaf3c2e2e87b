/** Whole-file signatures. Signers over files and commands are in `keys.node.ts`. */
export { certificateFacts, encodeSignatureBlock } from "./cms.ts";
export { encodeSignatureComment } from "./comment.ts";
export * from "./sign-package.ts";
export { OTACERT_NAME } from "../signature-entries.ts";
export type { PackageSigner, PayloadSigner } from "./signer.ts";
