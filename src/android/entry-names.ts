/** Entries that every package has, formats/android.md sections 2 and 4.5: the script, the program that runs it, and the metadata. */
export const SCRIPT_NAME = "META-INF/com/google/android/updater-script";
export const BINARY_NAME = "META-INF/com/google/android/update-binary";
export const METADATA_NAME = "META-INF/com/android/metadata";
