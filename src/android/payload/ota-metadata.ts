/**
 * META-INF/com/android/metadata.pb: the metadata of a package as a message, beside the text of the same (formats/android.md
 * 8.2; written since Android 12). Field numbers as in the public OtaMetadata message.
 */
import { BOOL, field, I64, listOf, message, nested, nestedList, TEXT, U32, type MessageValue } from "./proto.ts";

const PROPERTY_FILE = message("PropertyFilesEntry", {
  key: field(1, TEXT, "name of the metadata line"),
  value: field(2, TEXT, "its value"),
});

const DEVICE_STATE = message("DeviceState", {
  device: listOf(1, TEXT, "names of the device"),
  build: listOf(2, TEXT, "fingerprints"),
  buildIncremental: field(3, TEXT, "ro.build.version.incremental"),
  timestamp: field(4, I64, "build time, seconds"),
  sdkLevel: field(5, TEXT, "ro.build.version.sdk"),
  securityPatchLevel: field(6, TEXT, "ro.build.version.security_patch"),
});
export type DeviceState = MessageValue<typeof DEVICE_STATE>;

/** Numbers of OtaMetadata.type. */
export const OTA_TYPE_AB = 1;

export const OTA_METADATA = message("OtaMetadata", {
  type: field(1, U32, "1 AB, 2 BLOCK, 3 BRICK"),
  wipe: field(2, BOOL, "user data are wiped"),
  downgrade: field(3, BOOL, "an older build over a newer one"),
  propertyFiles: nestedList(4, PROPERTY_FILE, "places of entries in the package"),
  precondition: nested(5, DEVICE_STATE, "what the device is"),
  postcondition: nested(6, DEVICE_STATE, "what it becomes"),
  retrofitDynamicPartitions: field(7, BOOL, "the device gets dynamic partitions"),
  requiredCache: field(8, I64, "room needed on /cache, bytes"),
});
export type OtaMetadata = MessageValue<typeof OTA_METADATA>;
