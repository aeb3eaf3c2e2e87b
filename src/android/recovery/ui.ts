/** What recovery shows: a few pictures, a bar and lines of text. */

export const BACKGROUNDS = ["none", "installing", "erasing", "no-command", "error"] as const;
export type Background = (typeof BACKGROUNDS)[number];

export interface RecoveryUi {
  background(picture: Background): void;
  /** The next `fraction` of the bar is under way and takes about `seconds` (0: {@link RecoveryUi.setProgress} moves it). */
  showProgress(fraction: number, seconds: number): void;
  /** 0 to 1 within the current part of the bar. */
  setProgress(fraction: number): void;
  /** Text with its newlines; a byte string. */
  print(text: string): void;
  showText(): void;
  /** The menu waits for somebody; without a keyboard nobody answers and recovery ends. */
  menu(): Promise<void>;
}
