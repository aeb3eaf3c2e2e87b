/** A/B payloads: payload.bin read, checked, applied operation by operation. */
export { applyOperation, checkOperationInputs, type OperationInput } from "./apply-operation.ts";
export { applyBsdf2, isBsdf2, readBsdf2Header, type Bsdf2Header } from "./bsdf2.ts";
export { checkManifest } from "./check.ts";
export { countBlocks, extentReader, placeOutput, type PlacedBytes } from "./extents.ts";
export { PAYLOAD_HEADER } from "./layout.ts";
export {
  encodePartition,
  SPARSE_HOLE,
  type Extent,
  type Manifest,
  type Operation,
  type PartitionInfo,
  type PartitionUpdate,
} from "./manifest.ts";
export { isPayload, openPayload, type Payload, type SignatureValue } from "./open.ts";
export { OPERATION_NUMBER, OPERATION_TYPES, operationName, type OperationType } from "./operation-types.ts";
export {
  verifyPayload,
  verifyPayloadMetadata,
  type PayloadVerdict,
  type PayloadVerifyOptions,
  type SignatureState,
} from "./verify.ts";
export { openAbBuild, type AbBuild } from "./ab-build.ts";
export { checkPlaces, planAbPackage, type AbPackageOptions, type MadeAbPackage } from "./ab-package.ts";
export { makePayload, type MadePayload, type MakePayloadOptions, type PayloadPartition } from "./make.ts";
export { planSignedAgain, type SignedAgain } from "./sign-again.ts";
export { propertiesText, signPayload, type SealedPayload } from "./seal.ts";
export type { PayloadPackers } from "./packers.ts";
