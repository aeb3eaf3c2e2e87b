/** Codes raised by `k230/`: exit class and one-line meaning. */
export const K230_CODES = {} as const;
