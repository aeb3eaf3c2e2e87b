/** The header of payload.bin, major version 2 (formats/android.md 8.1): big-endian, unlike everything else of Android. */
import { layout, raw, u32be, u64be, type LayoutValue } from "../../core/layout.ts";

/** ASCII `CrAU`. */
export const PAYLOAD_MAGIC: Uint8Array = Uint8Array.of(0x43, 0x72, 0x41, 0x55);
/** The only major version in use; 1 was that of Chrome OS. */
export const PAYLOAD_MAJOR = 2;

export const PAYLOAD_HEADER = layout("payload header", 24, {
  magic: raw(0, 4, { meaning: "CrAU", source: "8.1" }),
  version: u64be(4, { meaning: "major version, 2", source: "8.1" }),
  manifestSize: u64be(12, { meaning: "size of the manifest behind the header", unit: "bytes", source: "8.1" }),
  metadataSignatureSize: u32be(20, {
    meaning: "size of the metadata signature behind the manifest",
    unit: "bytes",
    source: "8.1",
  }),
});
export type PayloadHeader = LayoutValue<typeof PAYLOAD_HEADER>;
