package org.example;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class PriceListTest {
  @Test
  public void sums() {
    assertEquals(349, PriceList.sum(250, 99));
  }
}
