<?php

final class Cart
{
    public static function total(array $prices): int
    {
        return array_sum($prices);
    }

    public static function shipping(int $total): int
    {
        if ($total >= 5000) {
            return 0;
        }
        return 495;
    }
}
