"""The fast scorer: what episodes share is computed once, in token trees and packs."""
