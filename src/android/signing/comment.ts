/** The archive comment that carries a whole-file signature (formats/android.md 5.1). */
import { concatBytes, writeU16 } from "../../core/bytes.ts";
import { encodeText } from "../../core/text.ts";

const MESSAGE = "signed by SignApk\0";
/** Size of the footer: signature start, FF FF, comment size. */
export const FOOTER_BYTES = 6;

/** Message, signature block and footer. */
export function encodeSignatureComment(block: Uint8Array): Uint8Array {
  const message = encodeText(MESSAGE);
  const footer = new Uint8Array(FOOTER_BYTES);
  writeU16(footer, 0, block.length + FOOTER_BYTES);
  footer[2] = 0xff;
  footer[3] = 0xff;
  writeU16(footer, 4, message.length + block.length + FOOTER_BYTES);
  return concatBytes(message, block, footer);
}
