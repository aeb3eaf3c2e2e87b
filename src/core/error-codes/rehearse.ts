/** Codes raised by `rehearse/`: exit class and one-line meaning. */
export const REHEARSE_CODES = {
  REHEARSE_CLEAN_RUN: ["mismatch", "the package does not install on this device even without a power cut"],
  REHEARSE_NO_SUCH_CUT: ["usage", "the cut that was asked for does not exist in this rehearsal"],
} as const;
