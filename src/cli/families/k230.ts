/** K230 at the front door. */
import type { Family } from "../family.ts";

/** First four bytes of every kdimg (`img_hdr_magic`, specification section 1.1). */
const MAGIC = [0x93, 0x8f, 0xcb, 0x27];

export const k230Family: Family = {
  name: "k230",
  what: "K230 image (.kdimg)",
  detect: async (input) => MAGIC.every((byte, i) => input.plainHead[i] === byte),
};
