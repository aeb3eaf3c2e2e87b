/** Codes raised by `android/`: exit class and one-line meaning. */
export const ANDROID_CODES = {
  KEYS_UNREADABLE: ["trust", "a key file is damaged or holds keys that no recovery takes"],
} as const;
