/** Codes raised by `trust/`: exit class and one-line meaning. */
export const TRUST_CODES = {} as const;
