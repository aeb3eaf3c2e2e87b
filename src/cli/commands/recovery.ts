export async function recoveryMain(): Promise<number> {
  return 70;
}
