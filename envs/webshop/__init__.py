"""WebShop."""

from contrail.envs.webshop.environment import WebShop, WebShopConfig

__all__ = ["WebShop", "WebShopConfig"]
