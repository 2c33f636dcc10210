// What the shop sells. A real one would ask a database; this one has to run anywhere.
export const goods = [
  {
    slug: 'canopy-hammock',
    name: 'Canopy hammock',
    price: 89,
    text: 'Ripstop weave, two tree straps, and a stuff sack the size of a mango. Holds one adult or four juveniles.',
    hue: 152,
    art: '<path d="M20 46 Q80 112 140 46" fill="none" stroke="currentColor" stroke-width="9" stroke-linecap="round"/><path d="M20 46 L20 20 M140 46 L140 20" stroke="currentColor" stroke-width="5" stroke-linecap="round"/>',
  },
  {
    slug: 'night-lantern',
    name: 'Night lantern',
    price: 42,
    text: 'Warm light for 60 hours, dimmable to the glow of a firefly. Charges from any port or from the sun.',
    hue: 38,
    art: '<rect x="56" y="34" width="48" height="62" rx="12" fill="none" stroke="currentColor" stroke-width="7"/><path d="M64 34 Q80 8 96 34" fill="none" stroke="currentColor" stroke-width="5"/><circle cx="80" cy="65" r="12" fill="currentColor"/>',
  },
  {
    slug: 'vine-rope',
    name: 'Vine rope, 30 m',
    price: 65,
    text: 'Static kernmantle in leaf green, 9 mm, rated for 18 kN. Knots stay where you tied them.',
    hue: 96,
    art: '<circle cx="80" cy="60" r="38" fill="none" stroke="currentColor" stroke-width="8"/><circle cx="80" cy="60" r="24" fill="none" stroke="currentColor" stroke-width="8"/><path d="M118 60 Q136 84 128 106" fill="none" stroke="currentColor" stroke-width="8" stroke-linecap="round"/>',
  },
  {
    slug: 'trail-mix',
    name: 'Troop trail mix',
    price: 9,
    text: 'Banana chips, cashews, dark chocolate. One kilogram, resealable; nobody has ever resealed it.',
    hue: 24,
    art: '<path d="M46 34 H114 L122 106 H38 Z" fill="none" stroke="currentColor" stroke-width="7" stroke-linejoin="round"/><path d="M62 74 Q80 96 98 70" fill="none" stroke="currentColor" stroke-width="8" stroke-linecap="round"/>',
  },
  {
    slug: 'rain-shell',
    name: 'Monsoon shell',
    price: 139,
    text: 'Three layers, taped seams, pit zips. Packs into its own hood and dries in the time of one song.',
    hue: 204,
    art: '<path d="M80 14 Q98 22 104 38 L132 58 L120 76 L108 68 V108 H52 V68 L40 76 L28 58 L56 38 Q62 22 80 14 Z" fill="none" stroke="currentColor" stroke-width="7" stroke-linejoin="round"/>',
  },
  {
    slug: 'field-guide',
    name: 'Field guide to good neighbours',
    price: 27,
    text: '212 species of the upper forest, and how to share a tree with each. Waterproof pages.',
    hue: 280,
    art: '<path d="M80 34 Q56 18 26 26 V98 Q56 90 80 106 Q104 90 134 98 V26 Q104 18 80 34 V106" fill="none" stroke="currentColor" stroke-width="7" stroke-linejoin="round"/>',
  },
];

/**
 * @param {string} slug as in the address
 * @returns {Object|undefined} the one with this slug
 */
export function find(slug) {
  return goods.find((item) => item.slug === slug);
}
