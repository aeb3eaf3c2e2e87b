/** Codes raised by `core/` itself. The text is the one-line meaning that the documentation prints. */
export const CORE_CODES = {
  LAYOUT_TRUNCATED: ["format", "a structure reaches past the end of the bytes that are there"],
  LAYOUT_VALUE_RANGE: ["usage", "a value does not fit its field"],
  LAYOUT_TEXT_TOO_LONG: ["usage", "a text is longer than its field"],
  LAYOUT_SIZE_UNSAFE: ["format", "a 64-bit size is beyond 2^53-1, larger than any real file"],
  READ_PAST_END: ["format", "a read reaches past the end of its source"],
  CODEC_DAMAGED: ["format", "compressed data is damaged, cut short or followed by garbage"],
  CODEC_BOMB: ["format", "compressed data expands beyond its declared size or limit"],
  CANCELLED: ["interrupted", "the caller stopped the work"],
  USAGE: ["usage", "a wrong option or argument"],
  UNSUPPORTED: ["usage", "something this build does not do"],
  PACKAGE_UNKNOWN: ["format", "the bytes are no package of a known family"],
} as const;
