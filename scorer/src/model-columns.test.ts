import { expect, test } from 'bun:test';
import { differencesOf } from './model-columns.ts';

const running = { features: ['temperature', 'sound'], units: ['Cel', ''] };

test('the same features in any order can take over, and so can units that one side does not know', () => {
  expect(differencesOf(running, running)).toEqual([]);
  expect(differencesOf(running, { features: ['sound', 'temperature'], units: ['dB', 'Cel'] })).toEqual([]);
  expect(differencesOf(running, { features: ['temperature', 'sound'], units: ['', ''] })).toEqual([]);
});

test('a feature that is missing, one that is added and another unit are named', () => {
  expect(differencesOf(running, { features: ['temperature', 'pressure'], units: ['K', 'Pa'] })).toEqual([
    'it does not read sound',
    'it needs pressure',
    'it reads temperature in K, not in Cel',
  ]);
});
