/** Codes raised by `trust/`: exit class and one-line meaning. */
export const TRUST_CODES = {
  TRUST_UNSIGNED: ["trust", "keys are configured and the package carries no signature"],
  TRUST_SIGNATURE: ["trust", "a signature does not fit the bytes it signs"],
  TRUST_UNKNOWN_KEY: ["trust", "the package is signed, but by none of the configured keys"],
  TRUST_KEY: ["usage", "a key file is no key, or of a kind that is not supported"],
  TRUST_KEY_LIST: ["trust", "a key list is not signed by the keys it replaces"],
  TRUST_MANIFEST: ["trust", "a signed manifest is malformed or not in its canonical form"],
  TRUST_MISMATCH: ["trust", "the package is not the one the signed manifest describes"],
  TRUST_SAMPLE_KEY: ["trust", "a key that anyone can have must not be trusted"],
  TRUST_SIGNER_FAILED: ["usage", "the external signing command failed or gave something that is no signature"],
  TRUST_HARDWARE: ["mismatch", "the package is for other hardware"],
  TRUST_BASE: ["mismatch", "the package is to be installed over another version than the installed one"],
  TRUST_VERSION: ["usage", "a version text is not of the form 1.2.3 or 1.2.3-suffix"],
  TRUST_DOWNGRADE: ["mismatch", "the package's version is below the lowest one this device accepts"],
  TRUST_BUILD_RECORD: ["format", "a build record is malformed"],
  TRUST_REBUILD: ["mismatch", "the package cannot be made again from its build record"],
  TRUST_NO_ROOM: ["usage", "the package's format has no room for this signature"],
} as const;
