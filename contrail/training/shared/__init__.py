"""The fast scorer: common beginnings of episodes are computed once, in token trees and packs."""
