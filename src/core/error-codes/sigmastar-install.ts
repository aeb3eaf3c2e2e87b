/** Codes raised by the SigmaStar installer: exit class and one-line meaning. */
export const SIGMASTAR_INSTALL_CODES = {
  SIGMASTAR_PATH: ["format", "a destination is no absolute path, or leaves its folder with `..`"],
  SIGMASTAR_NO_DESTINATION: ["format", "a record names no destination"],
  SIGMASTAR_DECLARED_SIZE: ["format", "a payload is larger than the destination size its record declares"],
  SIGMASTAR_CHANGED: ["format", "the package was changed between check and use"],
  SIGMASTAR_TEMPORARY_NEEDED: ["usage", "the package holds differences and no folder was given for them (-t)"],
  SIGMASTAR_TEMPORARY_VOLATILE: ["usage", "the folder for differences forgets its files at a power cut"],
  SIGMASTAR_UNSIGNED: ["trust", "the device has keys and the package carries no signature made with one"],
  SIGMASTAR_WRONG_BASE: ["mismatch", "a target is neither the base of its difference nor the result"],
  SIGMASTAR_RESULT_WRONG: ["format", "a difference does not give the promised result"],
  SIGMASTAR_OTHER_UNFINISHED: ["mismatch", "another package's interrupted update left a target half-written"],
  SIGMASTAR_NAND_PLAIN_WRITE: ["device", "a raw image would be written onto NAND without care for bad blocks"],
  SIGMASTAR_MOUNTED: ["device", "a target is still mounted after the begin script"],
  SIGMASTAR_SCRIPT_FAILED: ["device", "a script of the package ended with a failure"],
  SIGMASTAR_READ_BACK: ["device", "what was read back is not what was written"],
  SIGMASTAR_INTERRUPTED: ["interrupted", "the update was stopped; the same command finishes it"],
} as const;
