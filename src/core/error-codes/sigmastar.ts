/** Codes raised by `sigmastar/`: exit class and one-line meaning. */
export const SIGMASTAR_CODES = {
  SIGMASTAR_NOT_PACKAGE: [
    "format",
    "the bytes are no SigmaStar package of a known generation, or its header is damaged",
  ],
  SIGMASTAR_GENERATION_UNSUPPORTED: ["format", "a v1.x package of a version whose layout is not known"],
  SIGMASTAR_HEADER_DAMAGED: ["format", "the header's check value does not agree with the header and scripts"],
  SIGMASTAR_SCRIPTS_DAMAGED: ["format", "the digest of the begin and end script does not agree with the scripts"],
  SIGMASTAR_SCRIPT_TOO_LARGE: ["format", "a script is larger than the limit that keeps memory bounded"],
  SIGMASTAR_TRUNCATED: ["format", "the package ends before the bytes its header and records promise"],
  SIGMASTAR_RECORD_INVALID: ["format", "a field of a record head has a value that no packer writes"],
  SIGMASTAR_RECORD_DAMAGED: ["format", "a record's check value does not agree with its payload"],
  SIGMASTAR_TOTAL_SIZE: ["format", "the header's total size is not the sum of the payload sizes"],
  SIGMASTAR_TRAILING: ["format", "bytes follow the last record"],
  SIGMASTAR_TOO_MANY_RECORDS: ["format", "more records than the limit that keeps memory bounded"],
} as const;
