/** Codes raised by `android/`: exit class and one-line meaning. */
export const ANDROID_CODES = {
  KEYS_UNREADABLE: ["trust", "a key file is damaged or holds keys that no recovery takes"],
  // The device side.
  PACKAGE_CHANGED: ["trust", "the package was changed between its check and its use"],
  RECOVERY_BLOCK_MAP: ["format", "a block map of a package on /data is damaged"],
  ANDROID_REJECTED: ["trust", "the whole-file signature of a package does not verify with any trusted key"],
  ANDROID_UNSIGNED: ["trust", "the device has keys and the package carries no signature"],
  ANDROID_PREFLIGHT: ["mismatch", "the device cannot take the package: a target, room or base is missing"],
  ANDROID_BATTERY: ["mismatch", "the battery is too low for an update"],
  ANDROID_UPDATE_FAILED: ["mismatch", "the update script stopped with a message"],
  // The package maker.
  ANDROID_TARGET_FILES: ["format", "target files lack something or hold a text that cannot be read"],
  ANDROID_BOOT_IMAGE: ["format", "a boot image cannot be built or read"],
  ANDROID_SPARSE: ["format", "a sparse image is damaged"],
  ANDROID_IMAGE_TOO_LARGE: ["mismatch", "an image does not fit its partition"],
  ANDROID_NO_METADATA: ["format", "a packaged file has no owner and mode in META/filesystem_config.txt"],
  ANDROID_NOT_POSSIBLE: ["mismatch", "the builds do not allow the package that was asked for"],
  ANDROID_SCRIPT: ["format", "the updater script, or a text added to it, is not valid edify"],
  ANDROID_EXTENSION: ["usage", "a device extension cannot be used"],
  // A/B payloads.
  ANDROID_PAYLOAD: ["format", "a payload's header, manifest or signatures are damaged or contradict themselves"],
  ANDROID_PAYLOAD_VERSION: ["format", "a payload of a version that is not read"],
  ANDROID_PAYLOAD_DATA: [
    "format",
    "the data of a payload's operation is damaged or gives something else than it should",
  ],
  ANDROID_PAYLOAD_BASE: ["mismatch", "a partition is not the one a delta payload was made for"],
  ANDROID_PAYLOAD_OPERATION: ["usage", "a payload holds an operation that is shown but cannot be applied"],
  // Signing.
  ANDROID_KEY: ["trust", "a signing key or certificate is missing, damaged or of the wrong kind"],
  ANDROID_SIGNER: ["trust", "the external signing command failed or gave a wrong signature"],
  ANDROID_ALREADY_SIGNED: ["usage", "the package carries a comment already and cannot be signed again"],
} as const;
