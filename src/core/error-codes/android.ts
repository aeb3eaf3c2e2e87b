/** Codes raised by `android/`: exit class and one-line meaning. */
export const ANDROID_CODES = {} as const;
