#!/bin/sh
# Prints the sum of the price list on standard input.
total=0
while read -r name cents; do total=$((total + cents)); done
echo "$total"
