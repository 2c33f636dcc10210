package org.example;

/** Sums price lists. */
public final class PriceList {
  private PriceList() {}

  public static int sum(int... cents) {
    int total = 0;
    for (int c : cents) {
      total += c;
    }
    return total;
  }
}
