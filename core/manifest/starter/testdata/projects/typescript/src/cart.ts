export function total(prices: number[]): number {
  return prices.reduce((sum, price) => sum + price, 0);
}

export function shipping(total: number): number {
  if (total >= 5000) {
    return 0;
  }
  return 495;
}
